"""Metrics of what ends when (in the directory, of CRLs, of the service's own TLS), and whom `required` would refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from authz.model import DirectoryReport, Expiring
from authz.ports import Clock
from authz.telemetry.crl_metrics import MAX_SERIES, WatchedCrls
from authz.text import shown

_SHARED: Final = frozenset({""})


class WatchedDirectory(Protocol):
    """The directory as it was read last: `authz.app.directory_reports.DirectoryReports`."""

    @property
    def report(self) -> DirectoryReport:
        """What was read."""
        ...


class DirectoryMetrics(Collector):
    """Collects the metrics of `directory`, of `crls` for the organizations whose CAs signed them, and of key sets.

    `key_sets` returns those that cannot be read: how many seconds they are still usable, by `key_set_id`.
    """

    def __init__(
        self, directory: WatchedDirectory, crls: WatchedCrls, key_sets: Callable[[], Mapping[str, float]], clock: Clock
    ) -> None:
        self._directory = directory
        self._crls = crls
        self._key_sets = key_sets
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        report, now = self._directory.report, self._clock.now()
        name, text = "authz_expiry_seconds", "Until the first of a kind ends."
        expiry = GaugeMetricFamily(name, text, labels=("kind", "organization"))
        ends = {**report.ends, **self._ends_of_crls(report), **self._ends_of_key_sets(report, now)}
        # Those that end first: where organizations are many, the others are for later.
        for (kind, organization), end in sorted(ends.items(), key=lambda item: item[1])[:MAX_SERIES]:
            expiry.add_metric((kind.value, shown(organization)), (end - now).total_seconds())
        name, text = "authz_observed_users", "Users whom observe allowed and required would have refused."
        observed = GaugeMetricFamily(name, text, labels=("organization",))
        for organization, count in sorted(report.observed.items(), key=lambda item: -item[1])[:MAX_SERIES]:
            observed.add_metric((shown(organization),), count)
        name, text = "authz_directory_changed_timestamp_seconds", "When the directory was changed last."
        changed = GaugeMetricFamily(name, text)
        if report.changed_at is not None:
            changed.add_metric((), report.changed_at.timestamp())
        yield from (expiry, observed, changed)

    def _ends_of_key_sets(self, report: DirectoryReport, now: datetime) -> dict[tuple[Expiring, str], datetime]:
        """When tokens of each organization are refused because its key set cannot be read."""
        return {
            (Expiring.KEY_SET, organization): now + timedelta(seconds=seconds)
            for key, seconds in self._key_sets().items()
            for organization in report.key_sets.get(key, ())
        }

    def _ends_of_crls(self, report: DirectoryReport) -> dict[tuple[Expiring, str], datetime]:
        """The first nextUpdate of each organization's CRLs, also one that has passed; "" for those of no known CA."""
        ends: dict[tuple[Expiring, str], datetime] = {}
        for crl in self._crls.answering:
            if crl.next_update is not None:
                for organization in report.signers.get(crl.signer, _SHARED):
                    key = Expiring.CRL, organization
                    ends[key] = min(crl.next_update, ends.get(key, crl.next_update))
        return ends
