"""Log lines and metrics: what is in them, and what never is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO

import pytest
from support.certificates import Minted
from support.decision_world import ALICE, BOB, CA, REVOKED, Says, decide, request, standard_view
from support.metrics_text import metrics_of

from authz.decision import Allow, Decision, Deny, Evidence
from authz.model import CheckRequest, Identity, Organization
from authz.pki import RevocationMode
from authz.pki.cache import SharedCache
from authz.reasons import Reason
from authz.telemetry import BATCH_LINES, Telemetry
from authz.telemetry.log import members_of_rows, traceparent
from authz.text import MAX_REPORT, MAX_SHOWN
from authz.view import Listener

DAY = timedelta(days=1)


def test_text_that_is_not_utf_8_is_logged_with_escapes() -> None:
    """An address has one where the variable of the environment had: a line that cannot be written ends the service."""
    output = BytesIO()
    Telemetry(output).say("listening", address="unix:/run/\udcff.sock")
    assert json.loads(output.getvalue())["address"] == r"unix:/run/\udcff.sock"


DOOR = Listener("envoy", (Says("alice"),))


def logged(decision: Decision, check: CheckRequest | None = None) -> tuple[dict[str, object], str]:
    """The log line of a decision, and the metrics after it."""
    output = BytesIO()
    telemetry = Telemetry(output)
    telemetry.decided(check or request(), DOOR, decision, 0.000_021)
    return json.loads(output.getvalue()), metrics_of(telemetry).decode()


def test_allowed_check_is_logged_with_what_was_proven() -> None:
    """Organization, user, certificate, issuer, path length, time."""
    line, metrics = logged(decide(request(ALICE, CA)))
    assert line["outcome"] == "allow"
    assert (line["organization"], line["user"], line["binding"]) == ("acme", "alice", "bound")
    assert (line["certificate"], line["issuer"], line["path_length"]) == (ALICE.sha256.hex(), "CN=CA", 3)
    assert line["completed_by"] == "presented"
    assert line["microseconds"] == 21
    assert 'authz_decisions_total{listener="envoy",outcome="allow",reason=""} 1.0' in metrics


def test_denied_check_is_logged_with_its_reason() -> None:
    """The precise one, for the operator."""
    line, metrics = logged(decide(request(REVOKED, CA)))
    assert (line["outcome"], line["reason"]) == ("deny", "certificate_revoked")
    assert 'authz_decisions_total{listener="envoy",outcome="deny",reason="certificate_revoked"} 1.0' in metrics


def test_observed_refusal_is_counted() -> None:
    """What required would have said."""
    line, metrics = logged(decide(request(BOB, CA), "oscar"))
    assert line["binding"] == "certificate_of_another_user"
    assert 'authz_observed_refusals_total{reason="certificate_of_another_user"} 1.0' in metrics


def test_outside_strings_are_bounded_and_escaped() -> None:
    """A host, a method and a detail cannot draw on a terminal, nor fill a disk."""
    check = CheckRequest("id", "\x1b[31m" + "h" * 9_000, (), "G\nET")
    line, _ = logged(Deny(Reason.HOST_MALFORMED, "\u202e" * 9_000, Evidence()), check)
    text = json.dumps(line, ensure_ascii=False)
    assert text.isprintable()
    assert len(text) < 2_500


def test_longest_line_that_hostile_names_can_make_is_bounded() -> None:
    """20 KB, which docs/operations.md states to those who ship the log; each character becomes eight bytes at most."""
    worst = "\U000e0001" * 9_000
    seen = Evidence(Organization(1, worst, ()), Identity(worst))
    check = CheckRequest("0" * 32, worst, ((b"traceparent", TRACEPARENT),), worst)
    output = BytesIO()
    Telemetry(output).decided(check, DOOR, Deny(Reason.REVOCATION_UNKNOWN, worst, seen), 9.9)
    (line,) = output.getvalue().splitlines()
    issuer = MAX_SHOWN * 8
    assert 16_000 < len(line) + issuer < 20_000


def test_failure_is_logged_without_its_message() -> None:
    """Where it happened, and what kind; an exception may quote the request."""
    output = BytesIO()
    telemetry = Telemetry(output)
    with pytest.raises(ValueError, match="S3CRET") as caught:
        int("S3CRET")
    telemetry.failed(request(), DOOR, caught.value)
    line = json.loads(output.getvalue())
    assert line["error"] == "ValueError"
    assert str(line["at"]).startswith("test_log.py:")
    assert b"S3CRET" not in output.getvalue()


def test_allowed_requests_can_be_left_out_of_the_log() -> None:
    """Metrics count them all the same; a refusal's line stays, because its decision id goes to the client."""
    output = BytesIO()
    telemetry = Telemetry(output, log_decisions=False)
    telemetry.decided(request(ALICE, CA), DOOR, decide(request(ALICE, CA)), 0)
    assert output.getvalue() == b""
    telemetry.decided(request(), DOOR, decide(request()), 0)
    assert json.loads(output.getvalue())["reason"] == "certificate_required"
    assert b'outcome="allow"' in metrics_of(telemetry)


def test_labels_are_bounded() -> None:
    """Whatever clients send, there are no more series than reasons."""
    telemetry = Telemetry(BytesIO())
    for number in range(200):
        check = CheckRequest(str(number), f"h{number}.test", ())
        telemetry.decided(check, DOOR, decide(check, f"u{number}"), 0)
    series = [one for one in metrics_of(telemetry).splitlines() if one.startswith(b"authz_decisions_total")]
    assert len(series) == 1


def test_log_that_cannot_be_written_is_counted_and_decides_nothing() -> None:
    """A full disk or a closed pipe must not deny everybody."""
    output = BytesIO()
    output.close()
    telemetry = Telemetry(output)
    telemetry.decided(request(), DOOR, decide(request()), 0)
    assert b"authz_log_lines_lost_total 1.0" in metrics_of(telemetry)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(None, "unknown"), (RevocationMode(soft=True), "unsafe_soft_fail"), (RevocationMode(DAY), "unknown")],
)
def test_what_the_crls_said_is_counted_and_what_was_let_pass_is_logged(
    mode: RevocationMode | None, expected: str
) -> None:
    """The operator sees who passed for want of a CRL."""
    view = standard_view()
    view.crl_ders, view.mode = (), mode
    line, metrics = logged(decide(request(ALICE, CA), view=view))
    assert f'authz_revocation_checks_total{{result="{expected}"}} 1.0' in metrics
    assert line.get("exemption", "unknown") == expected


@pytest.mark.parametrize(("chain", "expected"), [((ALICE, CA), "good"), ((REVOKED, CA), "revoked")])
def test_what_current_crls_said_is_counted(chain: tuple[Minted, ...], expected: str) -> None:
    """Nothing was let pass."""
    line, metrics = logged(decide(request(*chain)))
    assert f'authz_revocation_checks_total{{result="{expected}"}} 1.0' in metrics
    assert "exemption" not in line


def test_time_of_a_line_has_one_form() -> None:
    """Milliseconds, always."""
    line, _ = logged(decide(request(ALICE, CA)))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", str(line["time"]))


def test_report_about_crls_is_logged_whole() -> None:
    """It takes a path that verified, and is bounded too."""
    line, _ = logged(Deny(Reason.REVOCATION_UNKNOWN, "r" * 9_000, Evidence()), CheckRequest("id", "h", ()))
    assert len(str(line["detail"])) == MAX_REPORT


class Loop:
    """An event loop's timers, which the test ends."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def later(self, _seconds: float, call: Callable[[], None]) -> None:
        """See `asyncio.loop.call_later`."""
        self.calls.append(call)

    def tick(self) -> None:
        """The time of all timers has come."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def batched() -> tuple[Telemetry, BytesIO, Loop]:
    """Telemetry that writes allowed decisions in batches, its log, and the loop."""
    output, loop = BytesIO(), Loop()
    telemetry = Telemetry(output)
    telemetry.write_in_batches(loop.later, SharedCache())
    return telemetry, output, loop


def outcomes(output: BytesIO) -> list[tuple[str, str]]:
    """Id and outcome of each line."""
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    return [(line["decision_id"], line["outcome"]) for line in lines]


def check_of(number: int, *chain: Minted) -> CheckRequest:
    """A check with a number for its id."""
    return CheckRequest(str(number), "acme.example.test", request(*chain).headers, "GET")


def test_allowed_checks_are_written_together_when_their_time_has_come() -> None:
    """One timer for all of them; their lines are in order, and as those that are written alone."""
    telemetry, output, loop = batched()
    for number in range(5):
        telemetry.decided(check_of(number, ALICE, CA), DOOR, decide(request(ALICE, CA)), 0)
    assert output.getvalue() == b""
    assert len(loop.calls) == 1
    loop.tick()
    assert outcomes(output) == [(str(number), "allow") for number in range(5)]
    alone, _ = logged(decide(request(ALICE, CA)), check_of(0, ALICE, CA))
    together = json.loads(output.getvalue().splitlines()[0])
    assert together | {"time": "", "microseconds": 0} == alone | {"time": "", "microseconds": 0}


def test_refused_check_is_written_at_once_behind_those_before_it() -> None:
    """Before the answer: its decision id can be looked up as soon as it arrives."""
    telemetry, output, _ = batched()
    telemetry.decided(check_of(1, ALICE, CA), DOOR, decide(request(ALICE, CA)), 0)
    telemetry.decided(check_of(2, REVOKED, CA), DOOR, decide(request(REVOKED, CA)), 0)
    assert outcomes(output) == [("1", "allow"), ("2", "deny")]


def test_batch_is_bounded() -> None:
    """A flood is written before its time has come."""
    telemetry, output, _ = batched()
    decision = decide(request(ALICE, CA))
    for number in range(BATCH_LINES + 1):
        telemetry.decided(check_of(number, ALICE, CA), DOOR, decision, 0)
    assert len(outcomes(output)) == BATCH_LINES


@pytest.mark.parametrize("end", [Telemetry.flush, Telemetry.count, metrics_of])
def test_what_waits_is_written_and_counted_when_asked_for(end: Callable[[Telemetry], object]) -> None:
    """At the end of a worker, and before its metrics are read."""
    telemetry, output, _ = batched()
    telemetry.decided(check_of(1, ALICE, CA), DOOR, decide(request(ALICE, CA)), 0)
    end(telemetry)
    assert outcomes(output) == [("1", "allow")]
    assert b'authz_decisions_total{listener="envoy",outcome="allow",reason=""} 1.0' in metrics_of(telemetry)


def test_parts_of_lines_are_of_the_rows_alone() -> None:
    """Nothing that is kept for the next line says that a request may pass."""
    for chain, user in (((ALICE, CA), "alice"), ((BOB, CA), "oscar"), ((), "olga")):
        decision = decide(request(*chain), user)
        assert isinstance(decision, Allow)
        for member in ("allow", "outcome", "binding", "bound"):
            assert member not in members_of_rows(decision)


def test_lines_of_one_flush_share_nothing_that_differs() -> None:
    """Host, method, binding and path are each decision's own, though most lines have the same."""
    asked = [
        (CheckRequest(str(number), host, (), method), decide(request(*chain), user))
        for number, (host, method, chain, user) in enumerate(
            [
                ("a.test", "GET", (ALICE, CA), "alice"),
                ("b.test", "GET", (ALICE, CA), "alice"),
                ("a.test", "PUT", (ALICE, CA), "alice"),
                ("a.test", "GET", (BOB, CA), "oscar"),
                ("a.test", "GET", (), "olga"),
                ("a.test", "GET", (ALICE, CA), "alice"),
            ]
        )
    ]
    telemetry, output, _ = batched()
    for check, decision in asked:
        telemetry.decided(check, DOOR, decision, 0)
    telemetry.flush()
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [(line["host"], line["method"], line.get("binding"), line.get("path_length")) for line in lines] == [
        ("a.test", "GET", "bound", 3),
        ("b.test", "GET", "bound", 3),
        ("a.test", "PUT", "bound", 3),
        ("a.test", "GET", "certificate_of_another_user", 3),
        ("a.test", "GET", None, None),
        ("a.test", "GET", "bound", 3),
    ]


TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
TRACEPARENT = b"00-" + TRACE + b"-" + SPAN + b"-01"


def test_trace_context_of_the_request_is_in_the_line() -> None:
    """Of a decision, and of a check that failed inside; a request without one has no such field."""
    check = request(ALICE, CA, headers=((b"traceparent", TRACEPARENT),))
    line, _ = logged(decide(check), check)
    assert line["traceparent"] == TRACEPARENT.decode()
    assert "traceparent" not in logged(decide(request(ALICE, CA)))[0]
    output = BytesIO()
    telemetry = Telemetry(output)
    telemetry.failed(check, DOOR, ValueError())
    telemetry.failed(request(), DOOR, ValueError())
    traced, untraced = map(json.loads, output.getvalue().splitlines())
    assert traced["traceparent"] == TRACEPARENT.decode()
    assert "traceparent" not in untraced


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (TRACEPARENT, TRACEPARENT),
        (b"cc-" + TRACEPARENT[3:], b"cc-" + TRACEPARENT[3:]),
        (b"cc-" + TRACEPARENT[3:] + b"-what-the-future-brings", b"cc-" + TRACEPARENT[3:]),
        (b"cc-" + TRACEPARENT[3:] + b"-" + b"x" * 100_000, b"cc-" + TRACEPARENT[3:]),
        (b"cc-" + TRACEPARENT[3:] + b".x", b""),
        (TRACEPARENT + b"-x", b""),
        (TRACEPARENT + b"\n", b""),
        (TRACEPARENT.upper(), b""),
        (b"ff-" + TRACEPARENT[3:], b""),
        (b"00-" + bytes(b"0" * 32) + b"-" + SPAN + b"-01", b""),
        (b"00-" + TRACE + b"-" + b"0" * 16 + b"-01", b""),
        (b"00-" + TRACE[1:] + b"-" + SPAN + b"-01", b""),
        (b'00-"},{"outcome":"allow"}', b""),
        (b"\xff\xfe", b""),
        (b"", b""),
    ],
)
def test_trace_context_is_kept_only_where_it_is_well_formed(value: bytes, kept: bytes) -> None:
    """W3C Trace Context, section 3.2.2: lower-case digits, no zero ids, no version ff; 55 characters at most."""
    assert traceparent([(b"host", b"x"), (b"traceparent", value)]) == kept.decode()


def test_two_trace_contexts_are_none() -> None:
    """A client's beside the proxy's: there is no telling which."""
    assert traceparent([(b"traceparent", TRACEPARENT), (b"traceparent", TRACEPARENT)]) == ""
