"""The metrics of one process, in a registry of its own: names, labels and their bounds."""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from authz.decision import Allow, Decision
from authz.pki import Exemption
from authz.reasons import Reason

BUCKETS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
"""Seconds: a known certificate takes tens of microseconds, the proxy gives up after half a second."""

_OUTCOMES: Final = ("allow", "deny")
_RESULTS: Final = ("good", *Exemption, "revoked", "unknown")
_UNPROVEN: Final = {Reason.CERTIFICATE_REVOKED: "revoked", Reason.REVOCATION_UNKNOWN: "unknown"}


class _Seconds(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, buckets: list[int], total: float) -> None:
        """`buckets` observations in each bucket (the last for those above all), of `total` seconds together."""
        for bucket, count in zip(self._buckets, buckets, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Tally:
    """The decisions since the metrics were updated last: one count a decision, where each metric would cost one."""

    def __init__(self) -> None:
        self.decisions: dict[tuple[str, str, str], int] = {}
        self.buckets = {outcome: [0] * (len(BUCKETS) + 1) for outcome in _OUTCOMES}
        self.seconds = dict.fromkeys(_OUTCOMES, 0.0)

    def add(self, key: tuple[str, str, str], outcome: str, seconds: float) -> None:
        """One decision: its listener, its reason, the result of its revocation check."""
        self.decisions[key] = self.decisions.get(key, 0) + 1
        self.buckets[outcome][bisect_left(BUCKETS, seconds)] += 1
        self.seconds[outcome] += seconds


class Metrics:
    """The counters and gauges; decisions are tallied, and counted by `count`."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        ProcessCollector(registry=registry)
        self.tally = Tally()
        labels = ("listener", "outcome", "reason")
        self.decisions = counter("authz_decisions", "Decisions by outcome and reason.", labels)
        self.observed = counter("authz_observed_refusals", "What required would have refused.", ("reason",))
        name, text = "authz_check_seconds", "Time of one check."
        seconds = _Seconds(name, text, ("outcome",), registry=registry, buckets=BUCKETS)
        self._seconds = {outcome: seconds.labels(outcome) for outcome in _OUTCOMES}
        self.rejected = counter("authz_requests_rejected", "Requests that could not be read at all.")
        self.proxies = counter("authz_proxies_refused", "Connections whose TLS handshake failed.", ("listener",))
        self.failures = counter("authz_failures", "Checks that failed inside.")
        self.log_lines_lost = counter("authz_log_lines_lost", "Log lines that could not be written.")
        self.lost = counter("authz_history_lost", "Decisions that the history could not keep.")
        lookups = counter("authz_revocation_checks", "Paths whose revocation was looked up.", ("result",))
        self._revocation = {result: lookups.labels(result) for result in _RESULTS}
        name, text = "authz_directory_confirmed", "1 while the directory's revision is confirmed."
        self.confirmed = Gauge(name, text, registry=registry, multiprocess_mode="livemin")

    def count(self) -> None:
        """Count what was tallied. Raises `OSError` or `ValueError`; what was not counted stays tallied."""
        tally = self.tally
        while tally.decisions:
            key, count = next(iter(tally.decisions.items()))
            listener, reason, revocation = key
            self.decisions.labels(listener, "deny" if reason else "allow", reason).inc(count)
            if reason == Reason.REQUEST_MALFORMED:
                self.rejected.inc(count)
            del tally.decisions[key]
            if revocation:
                self._revocation[revocation].inc(count)
        for outcome, seconds in self._seconds.items():
            seconds.add(tally.buckets[outcome], tally.seconds[outcome])
            tally.buckets[outcome], tally.seconds[outcome] = [0] * (len(BUCKETS) + 1), 0.0


def revocation_result(decision: Decision) -> str:
    """The result of a decision's revocation check; empty where there was none."""
    path = decision.evidence.path
    if path is not None:
        return str(path.exemption or "good")
    return "" if isinstance(decision, Allow) else _UNPROVEN.get(decision.reason, "")
