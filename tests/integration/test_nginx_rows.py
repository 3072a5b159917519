"""Every row of the demonstration through a real nginx."""

from __future__ import annotations

import pytest
from support.nginx_stage import NginxStage, at_nginx

from authz.demo.rows import ROWS, Row

pytestmark = pytest.mark.nginx

AT_NGINX = tuple(map(at_nginx, ROWS))


@pytest.mark.parametrize("row", AT_NGINX, ids=lambda row: row.what.replace(" ", "_"))
def test_row_comes_out_as_expected(nginx_stage: NginxStage, row: Row) -> None:
    """Status, reason in the log, and what the application sees are the row's; what is refused is not forwarded."""
    before = nginx_stage.application.requests
    answer, reason = nginx_stage.ask(row)
    assert row.holds(answer, reason), (answer, reason)
    assert nginx_stage.application.requests - before == (row.expected == 200)
