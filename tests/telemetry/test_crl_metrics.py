"""Metrics of CRLs and their sources, as they are when the metrics are collected."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from io import BytesIO

from support.certificates import NOW
from support.decision_world import CrlStates
from support.metrics_text import metrics_of

from authz.model import CrlSourceKind, CrlSourceState, FetchedCrl
from authz.telemetry import MAX_SERIES, Telemetry


class Stopped:
    """A clock that stands."""

    def now(self) -> datetime:
        """Always the same."""
        return NOW

    def monotonic(self) -> float:
        """Always the same."""
        return 0.0


def test_crls_and_their_sources_are_measured_when_collected() -> None:
    """As they are then: what is left to nextUpdate goes on falling without a check."""
    states = CrlStates()
    telemetry = Telemetry(BytesIO())
    telemetry.watch(states, Stopped())
    fetched = FetchedCrl(
        name="0123456789abcdef" * 4,
        location="http://crl.example.test/ca.crl",
        sha256=b"",
        signer=bytes(range(32)),
        issuer="CN=CA",
        number="7",
        delta=False,
        entries=3,
        this_update=NOW - timedelta(hours=1),
        next_update=NOW - timedelta(minutes=1),
        fetched_at=NOW,
    )
    states.answering = [fetched, replace(fetched, name="f" * 64, next_update=None)]
    states.outcomes[CrlSourceKind.URL, "reset"] = 2
    states.sources = [CrlSourceState("http://crl.example.test/ca.crl", CrlSourceKind.URL, failures=2)]
    metrics = metrics_of(telemetry).decode()
    labels = (
        '{crl="0123456789abcdef",issuer="CN=CA",signed_by="0001020304050607",source="http://crl.example.test/ca.crl"}'
    )
    for line in (
        f"authz_crl_next_update_seconds{labels} -60.0",
        f"authz_crl_age_seconds{labels} 3600.0",
        f"authz_crl_entries{labels} 3.0",
        'authz_crl_fetches_total{kind="url",outcome="reset"} 2.0',
        'authz_crl_sources_failing{kind="url"} 1.0',
        'authz_crl_sources_failing{kind="point"} 0.0',
    ):
        assert line in metrics
    assert metrics.count("authz_crl_next_update_seconds{") == 1


def test_crls_that_are_measured_are_bounded() -> None:
    """However many distribution points tenants name: those that end first, of which alerts are made."""
    states = CrlStates()
    crl = FetchedCrl("n", "u", b"", b"", "CN=CA", None, False, 0, NOW, None, NOW)
    states.answering = [replace(crl, name=str(number)) for number in range(MAX_SERIES + 9)]
    states.answering.append(replace(crl, name="ending", next_update=NOW))
    telemetry = Telemetry(BytesIO())
    telemetry.watch(states, Stopped())
    assert metrics_of(telemetry).count(b"authz_crl_entries{") == MAX_SERIES
    assert b'authz_crl_next_update_seconds{crl="ending"' in metrics_of(telemetry)
