"""What operators see of the decisions: one JSON line each, and counters with bounded labels.

Names of metrics and log fields are defined here and nowhere else. No token, PEM or header value is ever written.
"""

from __future__ import annotations

import sys
from typing import BinaryIO

import orjson
from prometheus_client.registry import Collector

from authz.decision import Allow, Decision
from authz.model import CheckRequest
from authz.ports import Clock
from authz.telemetry.crl_metrics import MAX_SERIES, CrlMetrics, WatchedCrls
from authz.telemetry.log import decision_fields, innermost_frame, json_logger
from authz.telemetry.metrics import BUCKETS, Metrics, revocation_result
from authz.text import shown
from authz.view import Listener

__all__ = ["BUCKETS", "MAX_SERIES", "Telemetry", "WatchedCrls", "decision_fields"]


class Telemetry:
    """Implements `authz.ports.Observer`: the log on `output` (binary), the metrics in a registry of its own.

    `checks` counts the decisions of this process, `watched` are the collectors added by `watch`.
    """

    def __init__(self, output: BinaryIO | None = None, *, log_decisions: bool = True) -> None:
        self._metrics = Metrics()
        self._tally = self._metrics.tally
        self.registry = self._metrics.registry
        self.watched: list[Collector] = []
        self.checks = 0
        self._output = output or sys.stdout.buffer
        self._log = json_logger(self._output)
        self._log_decisions = log_decisions

    def watch(self, crls: WatchedCrls, clock: Clock) -> None:
        """Add the metrics of CRLs and their sources."""
        self.watched.append(CrlMetrics(crls, clock))
        self.registry.register(self.watched[-1])

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:
        """Tally and log one decision; see `authz.ports.Observer`."""
        self.checks += 1
        outcome, reason = ("allow", "") if isinstance(decision, Allow) else ("deny", decision.reason.value)
        self._tally.add((listener.name, reason, revocation_result(decision)), outcome, seconds)
        if isinstance(decision, Allow) and decision.binding is not None and decision.binding.refusal is not None:
            self._metrics.observed.labels(decision.binding.refusal.value).inc()
        if self._log_decisions or reason:
            fields = decision_fields(check, listener, decision)
            fields["microseconds"] = round(seconds * 1e6)
            try:
                self._output.write(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE))
                self._output.flush()
            except (OSError, ValueError):
                self._metrics.unwritten.inc()

    def count(self) -> None:
        """Count the decisions tallied since the last time; those that cannot be counted wait for the next time."""
        try:
            self._metrics.count()
        except (OSError, ValueError) as error:
            self._write("warning", "uncounted", error=type(error).__name__)

    def _write(self, level: str, event: str, **fields: object) -> None:
        """Log one line; one that cannot be written is counted, and changes no decision."""
        try:
            getattr(self._log, level)(event, **fields)
        except (OSError, ValueError):
            self._metrics.unwritten.inc()

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """Log where a check failed, without its input; see `authz.ports.Observer`."""
        self._metrics.failures.inc()
        name, at = type(error).__name__, innermost_frame(error)
        self._write("error", "failure", decision_id=check.decision_id, listener=listener.name, error=name, at=at)

    def proxy_refused(self, listener: str, why: str) -> None:
        """Count and log a connection that is no allowed proxy's."""
        self._metrics.proxies.labels(listener).inc()
        self._write("warning", "proxy_refused", listener=listener, detail=shown(why))

    def lost(self, decisions: int) -> None:
        """Count decisions that the history could not keep."""
        self._metrics.lost.inc(decisions)

    def warn(self, message: str) -> None:
        """Log something that the operator should correct."""
        self._write("warning", "warning", message=shown(message))

    def say(self, event: str, **fields: object) -> None:
        """Log something that the operator may want to know: starts, stops, addresses."""
        self._write("info", event, **fields)

    def confirm(self, confirmed: bool) -> None:  # noqa: FBT001 - a gauge's value
        """Set the metric that says whether what checks rely on is confirmed."""
        self._metrics.confirmed.set(confirmed)
