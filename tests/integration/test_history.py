"""What was refused at the proxy, as the operator finds it a moment later."""

from __future__ import annotations

import json

import pytest
from support.command_world import authz
from support.worker_processes import until

from authz.demo import Stage
from authz.demo.rows import ROWS

pytestmark = pytest.mark.envoy
REFUSED = next(row for row in ROWS if row.certificate == "bob" and row.expected == 403)


def test_refused_request_is_found_by_the_id_the_client_was_given(stage: Stage) -> None:
    """And decides the same again, while nothing changes."""
    answer, _ = stage.ask(REFUSED)
    key = json.loads(answer.body)["decision_id"]
    settings = ("--config", str(stage.world.folder / "authz.toml"))
    until(lambda: authz(*settings, "decisions", "show", key).code == 0)
    told = json.loads(authz(*settings, "decisions", "show", key, "--json").out)
    assert (told["reason"], told["user"], told["subject"]) == (REFUSED.reason, "alice", "CN=bob")
    replayed = authz(*settings, "check", "--replay", key)
    assert replayed.code == 1
    assert "nothing is different" in replayed.err
