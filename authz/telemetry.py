"""What operators see of the decisions: one JSON line each, and counters with bounded labels.

Names of metrics and log fields are defined here and nowhere else. No token, no PEM and no header value
is ever written; outside strings are bounded and escaped.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import BinaryIO, Final, Protocol

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from authz.decision import Allow, Decision
from authz.model import CheckRequest, CrlSourceKind, CrlSourceState, FetchedCrl
from authz.pki import Exemption
from authz.ports import Clock
from authz.reasons import Reason
from authz.text import shown
from authz.view import Listener

BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
"""Seconds: a known certificate takes tens of microseconds, the proxy gives up after half a second."""


MAX_SERIES: Final = 1_000
"""CRLs that have metrics of their own; `authz crl list` shows all."""


class CrlSources(Protocol):
    """What is known of CRLs and their sources: `authz.crls.Refresher`."""

    outcomes: Counts[tuple[CrlSourceKind, str]]

    @property
    def sources(self) -> list[CrlSourceState]:
        """How every source fares."""
        ...

    @property
    def answering(self) -> list[FetchedCrl]:
        """The CRLs held that no newer one supersedes, from sources and from the directory."""
        ...


class _Seconds(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, buckets: list[int], total: float) -> None:
        """`buckets` observations in each bucket (the last for those above all), of `total` seconds together."""
        for bucket, count in zip(self._buckets, buckets, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class _Tally:
    """What was decided since the metrics were told last: one count a decision, which each of them would cost."""

    def __init__(self) -> None:
        self.decisions: dict[tuple[str, str, str], int] = {}
        self.buckets = {outcome: [0] * (len(BUCKETS) + 1) for outcome in _OUTCOMES}
        self.seconds = dict.fromkeys(_OUTCOMES, 0.0)

    def add(self, key: tuple[str, str, str], outcome: str, seconds: float) -> None:
        """One decision: its listener, its reason, what the CRLs said."""
        self.decisions[key] = self.decisions.get(key, 0) + 1
        self.buckets[outcome][bisect_left(BUCKETS, seconds)] += 1
        self.seconds[outcome] += seconds


_OUTCOMES: Final = ("allow", "deny")


class Telemetry:
    """Implements `authz.ports.Observer`: the log on `output` (binary), the metrics in a registry of its own.

    `checks` counts the decisions of this process, `watched` are collectors that were asked for by `watch`.
    What was decided is tallied, and counted by `count`.
    """

    def __init__(self, output: BinaryIO | None = None, *, log_decisions: bool = True) -> None:
        self.registry = CollectorRegistry()
        self.watched: list[Collector] = []
        self.checks = 0
        ProcessCollector(registry=self.registry)
        self._output = output or sys.stdout.buffer
        self._log = structlog.wrap_logger(
            structlog.BytesLogger(self._output),
            processors=[_stamp, structlog.processors.JSONRenderer(serializer=orjson.dumps)],
            wrapper_class=structlog.BoundLogger,
        ).bind()
        self._log_decisions = log_decisions
        self._decisions = Counter(
            "authz_decisions",
            "Decisions by outcome and reason.",
            ("listener", "outcome", "reason"),
            registry=self.registry,
        )
        self._observed = Counter(
            "authz_observed_refusals", "What required would have refused.", ("reason",), registry=self.registry
        )
        seconds = _Seconds(
            "authz_check_seconds", "Time of one check.", ("outcome",), registry=self.registry, buckets=BUCKETS
        )
        self._seconds = {outcome: seconds.labels(outcome) for outcome in _OUTCOMES}
        self._tally = _Tally()
        self._rejected = Counter(
            "authz_requests_rejected", "Requests that could not be read at all.", registry=self.registry
        )
        self._proxies = Counter(
            "authz_proxies_refused", "Connections whose TLS handshake failed.", ("listener",), registry=self.registry
        )
        self._failures = Counter("authz_failures", "Checks that failed inside.", registry=self.registry)
        self._unwritten = Counter("authz_log_unwritten", "Log lines that could not be written.", registry=self.registry)
        self._lost = Counter("authz_history_lost", "Decisions that the history could not keep.", registry=self.registry)
        lookups = Counter(
            "authz_revocation_checks", "Paths whose revocation was looked up.", ("result",), registry=self.registry
        )
        self._revocation = {one: lookups.labels(one) for one in _RESULTS}
        self._confirmed = Gauge(
            "authz_directory_confirmed",
            "1 while the directory's revision is confirmed.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )

    def watch(self, crls: CrlSources, clock: Clock) -> None:
        """Tell of CRLs and their sources, too, in the metrics."""
        self.watched.append(_CrlCollector(crls, clock))
        self.registry.register(self.watched[-1])

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:
        """Tally and log one decision; see `authz.ports.Observer`."""
        self.checks += 1
        outcome, reason = ("allow", "") if isinstance(decision, Allow) else ("deny", decision.reason.value)
        self._tally.add((listener.name, reason, _revocation(decision)), outcome, seconds)
        if isinstance(decision, Allow) and decision.binding is not None and decision.binding.refusal is not None:
            self._observed.labels(decision.binding.refusal.value).inc()
        if self._log_decisions:
            fields = decision_fields(check, listener, decision)
            fields["microseconds"] = round(seconds * 1e6)
            try:
                self._output.write(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE))
                self._output.flush()
            except (OSError, ValueError):
                self._unwritten.inc()

    def count(self) -> None:
        """Tell the metrics what was decided since they were told last; what cannot be told waits for the next time."""
        try:
            self._count()
        except (OSError, ValueError) as error:
            self._write("warning", "uncounted", error=type(error).__name__)

    def _count(self) -> None:
        tally = self._tally
        while tally.decisions:
            key, count = next(iter(tally.decisions.items()))
            listener, reason, said = key
            self._decisions.labels(listener, "deny" if reason else "allow", reason).inc(count)
            del tally.decisions[key]
            if said:
                self._revocation[said].inc(count)
        for outcome, seconds in self._seconds.items():
            seconds.add(tally.buckets[outcome], tally.seconds[outcome])
            tally.buckets[outcome], tally.seconds[outcome] = [0] * (len(BUCKETS) + 1), 0.0

    def _write(self, level: str, event: str, **fields: object) -> None:
        """One line; a log that cannot be written is counted, and decides nothing."""
        try:
            getattr(self._log, level)(event, **fields)
        except (OSError, ValueError):
            self._unwritten.inc()

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """Log where a check failed, without what it was given; see `authz.ports.Observer`."""
        self._failures.inc()
        name, at = type(error).__name__, _where(error)
        self._write("error", "failure", decision_id=check.decision_id, listener=listener.name, error=name, at=at)

    def rejected(self, status: int, error: BaseException | None) -> None:
        """Count and log a request that could not be read, or asked where nobody answers (404); nothing is quoted."""
        self._rejected.inc()
        name, reason = "" if error is None else type(error).__name__, Reason.REQUEST_MALFORMED.value
        self._write("warning", "rejected", reason=reason, status=status, error=name)

    def proxy_refused(self, listener: str, why: str) -> None:
        """Count and log a connection that is no allowed proxy's."""
        self._proxies.labels(listener).inc()
        self._write("warning", "proxy_refused", listener=listener, detail=shown(why))

    def lost(self, decisions: int) -> None:
        """Count decisions that the history could not keep."""
        self._lost.inc(decisions)

    def warn(self, message: str) -> None:
        """Something the operator should mend."""
        self._write("warning", "warning", message=shown(message))

    def say(self, event: str, **fields: object) -> None:
        """Something the operator may want to know: starts, stops, addresses."""
        self._write("info", event, **fields)

    def confirm(self, confirmed: bool) -> None:  # noqa: FBT001 - a gauge's value
        """Whether what checks look at is confirmed, as the metrics tell it from now on."""
        self._confirmed.set(confirmed)

    def metrics(self) -> bytes:
        """The metrics in Prometheus' text form."""
        self.count()
        return generate_latest(self.registry)


def decision_fields(check: CheckRequest, listener: Listener, decision: Decision) -> dict[str, object]:
    """The fields of a decision's log line as of now; empty ones are left out."""
    evidence = decision.evidence
    organization, identity, leaf, path = evidence.organization, evidence.identity, evidence.leaf, evidence.path
    fields: dict[str, object] = {
        "time": _now(),
        "level": "info",
        "event": "decision",
        "decision_id": check.decision_id,
        "listener": listener.name,
        "host": shown(check.host, 64),
        "method": shown(check.method, 16),
        "organization": "" if organization is None else shown(organization.name),
        "user": "" if identity is None else shown(identity.user),
        "certificate": "" if leaf is None else leaf.sha256.hex(),
    }
    if isinstance(decision, Allow):
        fields["outcome"] = "allow"
        fields["binding"] = "" if decision.binding is None else str(decision.binding)
    else:
        fields["outcome"] = "deny"
        fields["reason"] = decision.reason.value
        fields["detail"] = shown(decision.detail)
    if path is not None:
        fields["issuer"] = shown(path.leaf.issuer.text)
        fields["path_length"] = len(path.certificates)
        if path.exemption is not None:
            fields["exemption"] = str(path.exemption)
        fields["completed_by"] = evidence.completed_by
    if evidence.stored_chain:
        fields["stored_chain"] = True
    return {key: value for key, value in fields.items() if value != ""} if "" in fields.values() else fields


_RESULTS: Final = ("good", *Exemption, "revoked", "unknown")
_UNPROVEN: Final = {Reason.CERTIFICATE_REVOKED: "revoked", Reason.REVOCATION_UNKNOWN: "unknown"}


def _revocation(decision: Decision) -> str:
    """What the CRLs said of the certificate; empty where they were not asked."""
    path = decision.evidence.path
    if path is not None:
        return str(path.exemption or "good")
    return "" if isinstance(decision, Allow) else _UNPROVEN.get(decision.reason, "")


class _CrlCollector(Collector):
    """The CRLs that answer, and their sources, as they are when somebody looks."""

    def __init__(self, crls: CrlSources, clock: Clock) -> None:
        self._crls = crls
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        now = self._clock.now()
        left = GaugeMetricFamily(
            "authz_crl_next_update_seconds", "Until nextUpdate; negative when it has passed.", labels=_OF_CRLS
        )
        age = GaugeMetricFamily("authz_crl_age_seconds", "Since thisUpdate.", labels=_OF_CRLS)
        entries = GaugeMetricFamily("authz_crl_entries", "Certificates listed.", labels=_OF_CRLS)
        for one in self._crls.answering[:MAX_SERIES]:
            labels = (shown(one.issuer), shown(one.location, 256), one.name[:16])
            if one.next_update is not None:
                left.add_metric(labels, (one.next_update - now).total_seconds())
            age.add_metric(labels, (now - one.this_update).total_seconds())
            entries.add_metric(labels, one.entries)
        yield from (left, age, entries)
        tries = CounterMetricFamily("authz_crl_fetches", "Tries of sources of CRLs.", labels=("kind", "outcome"))
        for (kind, outcome), count in self._crls.outcomes.items():
            tries.add_metric((str(kind), outcome), count)
        yield tries
        failing = GaugeMetricFamily("authz_crl_sources_failing", "Sources whose last try failed.", labels=("kind",))
        failures = Counts(one.kind for one in self._crls.sources if one.failures)
        for kind in CrlSourceKind:
            failing.add_metric((str(kind),), failures[kind])
        yield failing


_OF_CRLS: Final = ("issuer", "source", "crl")


def _stamp(_logger: object, method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return {"time": _now(), "level": method, **event}


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1_000_000:03d}+00:00"


@lru_cache(1)
def _second(seconds: int) -> str:
    """A moment of POSIX time; many lines a second begin with it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _where(error: BaseException) -> str:
    """File and line of the innermost frame: enough to find it, nothing of the request."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
