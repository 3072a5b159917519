"""The metrics of one process: each decision is counted once, also where counting fails for a while."""

from __future__ import annotations

from io import BytesIO

import pytest
from support.decision_world import ALICE, CA, REVOKED, Says, decide, request
from support.metrics_text import metrics_of

from authz.telemetry import Telemetry
from authz.view import Listener

LISTENER = Listener("envoy", (Says("alice"),))


def _of_authz(metrics: bytes) -> list[bytes]:
    """The lines of our own metrics: those of the process count its CPU, which goes on."""
    return [line for line in metrics.splitlines() if line.startswith(b"authz_")]


def test_counts_that_cannot_be_written_wait_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metrics folder that is full ends no heartbeat, and nothing is counted twice."""
    telemetry = Telemetry(BytesIO(), log_decisions=False)
    checks = [request(ALICE, CA), request(REVOKED, CA)]
    for check in checks:
        telemetry.decided(check, LISTENER, decide(check), 0.001)
    labels = telemetry._metrics.decisions.labels

    def full(*values: str) -> object:
        if values[1] == "deny":
            raise OSError
        return labels(*values)

    with monkeypatch.context() as patched:
        patched.setattr(telemetry._metrics.decisions, "labels", full)
        for _ in range(3):
            telemetry.count()
    metrics = metrics_of(telemetry).decode()
    assert 'authz_decisions_total{listener="envoy",outcome="allow",reason=""} 1.0' in metrics
    assert 'authz_decisions_total{listener="envoy",outcome="deny",reason="certificate_revoked"} 1.0' in metrics
    assert 'authz_check_seconds_count{outcome="deny"} 1.0' in metrics
    assert _of_authz(metrics_of(telemetry)) == _of_authz(metrics.encode())
