"""Every row of the demonstration, and what it says of itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from authz.demo import Stage
from authz.demo.client import ClientResponse
from authz.demo.rows import ROWS, Row

pytestmark = pytest.mark.envoy


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what.replace(" ", "_"))
def test_row_comes_out_as_expected(stage: Stage, row: Row) -> None:
    """Status, reason in the log, and what the application sees are the row's."""
    answer, reason = stage.ask(row)
    assert row.holds(answer, reason), (answer, reason)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what.replace(" ", "_"))
def test_row_at_request_level_has_a_reason_instead_of_an_alert(request_level_stage: Stage, row: Row) -> None:
    """What Envoy would have ended in the handshake is refused with a reason; everything else is the same."""
    expected = row.for_level(request_level=True)
    answer, reason = request_level_stage.ask(expected)
    assert expected.holds(answer, reason), (answer, reason)


@pytest.mark.parametrize("row", [row for row in ROWS if row.expected != 200], ids=lambda row: row.what)
def test_refused_request_never_reaches_the_application(stage: Stage, row: Row) -> None:
    """What is refused is not forwarded."""
    before = stage.application.requests
    stage.ask(row)
    assert stage.application.requests == before


def test_refusal_tells_the_client_the_public_code_only(stage: Stage) -> None:
    """The reason stays with the operator; the client gets the code and the decision id."""
    answer, reason = stage.ask(ROWS[1])
    assert b"MUTUAL_AUTHENTICATION_FAILED" in answer.body
    assert reason.encode() not in answer.body
    assert answer.headers["content-type"] == "application/problem+json"


DEMOS = {"strict": ("--json",), "request level": ("--json", "--request-level"), "table": ()}


@pytest.fixture(scope="module")
def demos(stage: Stage) -> dict[str, tuple[str, str]]:
    """What `authz demo --once` printed on stdout and stderr, each of the ways; all at once."""
    command, pipe = [sys.executable, "-m", "authz", "demo", "--once"], subprocess.PIPE
    started = {
        how: subprocess.Popen([*command, *options], stdout=pipe, stderr=pipe, text=True)
        for how, options in DEMOS.items()
    }
    told = {how: one.communicate(timeout=300) for how, one in started.items()}
    assert {how: one.returncode for how, one in started.items()} == dict.fromkeys(DEMOS, 0), told
    return told


@pytest.mark.parametrize("level", ["strict", "request level"])
def test_demo_once_exits_zero_when_all_rows_hold(demos: dict[str, tuple[str, str]], level: str) -> None:
    """The command itself tells every row, where Envoy refuses by alert and where it does not."""
    out, err = demos[level]
    assert f"{len(ROWS)} of {len(ROWS)} as expected" in err
    told = json.loads(out)
    assert [one["request"] for one in told] == [row.what for row in ROWS]
    alerts = [one["reason"] for one in told if one["answer"] == "alert"]
    assert len(alerts) == (0 if level == "request level" else sum(row.expected == "alert" for row in ROWS))
    assert all("alert" in one for one in alerts)


def test_demo_once_prints_a_table(demos: dict[str, tuple[str, str]]) -> None:
    """For people."""
    assert len(re.findall(r"^ok  ", demos["table"][0], re.MULTILINE)) == len(ROWS)


def test_row_that_differs_is_distinguished(stage: Stage) -> None:
    """The check can fail: another status, another reason and a header that arrived are all noticed."""
    answer, reason = stage.ask(ROWS[0])
    assert not ROWS[1].holds(answer, reason)
    assert not Row("", "alice", "alice", 200, arrives=(("x-authz-user", "bob"),)).holds(answer, reason)
    assert not Row("", "alice", "alice", 200, spoofs=(("x", "alice"),)).holds(answer, reason)
    refused = next(row for row in ROWS if row.expected == "alert")
    assert not refused.holds(answer, reason)
    assert not refused.holds(ClientResponse(alert="eof occurred in violation of protocol"), "")
