"""The demonstration's rows and the README's lines, from outside, at both proxies of docker-compose.yml."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from support.compose_stage import FRONTS, ROOT, ComposeStage, Front, run, wait_until

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
def registered_again(containers: ComposeStage) -> object:
    """Alice's certificate is registered again once it was retired."""
    yield
    chain = (containers.client / "alice.pem").read_text()
    command = ["docker", "compose", "exec", "--no-TTY", "authz-1", "authz", "cert", "add", "acme", "/dev/stdin"]
    run(*command, "--user", "alice", input=chain, cwd=ROOT)
    for front in FRONTS:
        wait_until(lambda front=front: [containers.status(front) for _ in range(4)] == [200] * 4, "registered again")


def test_readme_lines_work(containers: ComposeStage, registered_again: object, tmp_path: Path) -> None:
    """Each in order, with the status that stands above it; the one-shot container prints the same."""
    assert lines_to_try() in (ROOT / "README.md").read_text(encoding="utf-8")
    assert lines_to_try() in containers.compose("logs", "--no-color", "--no-log-prefix", "mint")
    environment = {**os.environ, "COMPOSE_FILE": str(ROOT / "docker-compose.yml")}
    expected, asked = "", 0
    for line in lines_to_try().splitlines():
        if line.startswith("#"):
            expected = (re.findall(r": (\d{3})$", line) or [""])[0]
        elif line.startswith("curl "):
            command = [*shlex.split(line), "--silent", "--output", os.devnull, "--write-out", "%{http_code}"]
            wait_until(lambda c=command, e=expected: run(*c, cwd=tmp_path) == e, f"{expected} to {line}")
            asked += 1
        else:
            run(*shlex.split(line), cwd=tmp_path, env=environment)
    assert asked == 5
