"""Metrics of the CRLs that answer, and of their sources, as they are when the metrics are collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from authz.model import CrlSourceKind, CrlSourceState, FetchedCrl
from authz.ports import Clock
from authz.text import key_id, shown

MAX_SERIES: Final = 1_000
"""CRLs that have metrics of their own; `authz crl list` shows all."""

_NEVER: Final = datetime.max.replace(tzinfo=UTC)

_OF_CRLS: Final = ("issuer", "signed_by", "source", "crl")


class WatchedCrls(Protocol):
    """The state of CRLs and their sources: `authz.crls.Refresher`."""

    @property
    def outcomes(self) -> Counter[tuple[CrlSourceKind, str]]:
        """Tries, by kind of source and outcome."""
        ...

    @property
    def sources(self) -> list[CrlSourceState]:
        """The state of every source."""
        ...

    @property
    def answering(self) -> list[FetchedCrl]:
        """The CRLs that no newer one supersedes, from sources and from the directory."""
        ...


class CrlMetrics(Collector):
    """Collects the metrics of `crls`."""

    def __init__(self, crls: WatchedCrls, clock: Clock) -> None:
        self._crls = crls
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        now = self._clock.now()
        left = GaugeMetricFamily(
            "authz_crl_next_update_seconds", "Until nextUpdate; negative once passed.", labels=_OF_CRLS
        )
        age = GaugeMetricFamily("authz_crl_age_seconds", "Since thisUpdate.", labels=_OF_CRLS)
        entries = GaugeMetricFamily("authz_crl_entries", "Certificates listed.", labels=_OF_CRLS)
        # Those that end first: where CRLs are many, an alert needs these.
        for crl in sorted(self._crls.answering, key=lambda crl: crl.next_update or _NEVER)[:MAX_SERIES]:
            labels = (shown(crl.issuer), key_id(crl.signer), shown(crl.location, 256), crl.name[:16])
            if crl.next_update is not None:
                left.add_metric(labels, (crl.next_update - now).total_seconds())
            age.add_metric(labels, (now - crl.this_update).total_seconds())
            entries.add_metric(labels, crl.entries)
        yield from (left, age, entries)
        tries = CounterMetricFamily("authz_crl_fetches", "Tries of sources of CRLs.", labels=("kind", "outcome"))
        for (kind, outcome), count in self._crls.outcomes.items():
            tries.add_metric((str(kind), outcome), count)
        yield tries
        failing = GaugeMetricFamily("authz_crl_sources_failing", "Sources whose last try failed.", labels=("kind",))
        failures = Counter(source.kind for source in self._crls.sources if source.failures)
        for kind in CrlSourceKind:
            failing.add_metric((str(kind),), failures[kind])
        yield failing
