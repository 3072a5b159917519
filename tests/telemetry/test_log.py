"""Log lines and metrics: what is in them, and what never is."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import BytesIO

import pytest
from support.certificates import Minted
from support.decision_world import ALICE, BOB, CA, REVOKED, Says, decide, request, standard_view
from support.metrics_text import metrics_of

from authz.decision import Decision, Deny, Evidence
from authz.model import CheckRequest
from authz.pki import RevocationMode
from authz.reasons import Reason
from authz.telemetry import Telemetry
from authz.text import MAX_REPORT
from authz.view import Listener

DAY = timedelta(days=1)


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
    assert b"authz_log_unwritten_total 1.0" in metrics_of(telemetry)


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
