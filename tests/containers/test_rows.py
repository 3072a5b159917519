"""The demonstration's rows and the README's lines, from outside, at both proxies of docker-compose.yml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compose_stage import FRONTS, ROOT, ComposeStage, Front, wait_until

from authz.demo.client import ClientResponse
from authz.demo.fill import lines_to_try
from authz.demo.mint import NEIGHBOUR_HOST
from authz.demo.rows import ROWS

pytestmark = pytest.mark.docker
AT_FRONTS = pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.name)
NEIGHBOUR = next(row for row in ROWS if row.host == NEIGHBOUR_HOST)


@AT_FRONTS
def test_rows_come_out_as_expected(containers: ComposeStage, front: Front) -> None:
    """Status, reason in the log, and what the application sees; what is refused is not forwarded."""
    # Each instance fetches the neighbour's CRLs at first sight, from the distribution points of her certificate.
    wait_until(lambda: [containers.ask(front, NEIGHBOUR).status for _ in range(4)] == [200] * 4, "her CRLs")
    before = containers.reached()
    answers = [containers.ask(front, row) for row in front.rows]
    assert containers.reached() == before + 1 + sum(row.expected == 200 for row in front.rows)
    decisions = containers.decisions()
    for row, answer in zip(front.rows, answers, strict=True):
        assert row.holds(answer, reason(decisions, answer)), (row, answer)


def reason(decisions: dict[str, dict[str, object]], answer: ClientResponse) -> str:
    """Why the service refused, by its log."""
    return str(decisions.get(answer.headers.get("x-authz-decision-id", ""), {}).get("reason", ""))


def test_distribution_points_are_asked(containers: ComposeStage) -> None:
    """The server's log has it: the neighbour's CRLs are named in certificates, and nowhere else."""
    wait_until(lambda: containers.ask(FRONTS[0], NEIGHBOUR).status == 200, "the neighbour's CRLs")
    asked = containers.compose("logs", "--no-color", "crls")
    assert "GET /twin.crl" in asked
    assert "twin" not in (ROOT / "deploy" / "compose" / "authz.toml").read_text()


@pytest.fixture
def reinstated(containers: ComposeStage) -> Iterator[None]:
    """Alice's certificate counts again once it was retired."""
    yield
    containers.operator("cert", "reinstate", "1")
    for front in FRONTS:
        wait_until(lambda front=front: [containers.status(front) for _ in range(4)] == [200] * 4, "reinstated")  # type: ignore[misc]


def test_readme_lines_work(containers: ComposeStage, reinstated: None, tmp_path: Path) -> None:
    """Each in order; the one-shot container prints the same."""
    assert lines_to_try() in (ROOT / "README.md").read_text(encoding="utf-8")
    assert lines_to_try() in containers.compose("logs", "--no-color", "--no-log-prefix", "mint")
    assert containers.try_lines(tmp_path) == 5
