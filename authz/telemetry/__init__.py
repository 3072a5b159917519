"""What operators see of the decisions: one JSON line each, and counters with bounded labels.

Names of metrics and log fields are defined here and nowhere else. No token, PEM or header value is ever written.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client.registry import Collector

from authz.decision import Allow, Decision
from authz.model import CheckRequest
from authz.pki.cache import SharedCache
from authz.ports import Clock
from authz.row_parts import RowParts
from authz.telemetry.crl_metrics import MAX_SERIES, CrlMetrics, WatchedCrls
from authz.telemetry.directory_metrics import DirectoryMetrics, WatchedDirectory
from authz.telemetry.log import (
    Decided,
    innermost_frame,
    line_of,
    line_of_event,
    members_of_rows,
    traceparent,
)
from authz.telemetry.metrics import BUCKETS, Metrics, revocation_result
from authz.telemetry.output import DescriptorOutput, LineOutput, Output
from authz.view import Listener

__all__ = ["BUCKETS", "MAX_SERIES", "DescriptorOutput", "Telemetry", "WatchedCrls", "WatchedDirectory"]

BATCH_SECONDS: Final = 0.005
"""How long allowed decisions wait for others: a process that is killed loses the lines of so long."""

BATCH_LINES: Final = 128
"""Allowed decisions that wait; their lines are 64 KiB, as much as a pipe holds."""

Later = Callable[[float, Callable[[], None]], Any]
"""Calls a function after so many seconds: `call_later` of the event loop."""


class Telemetry:
    """Implements `authz.ports.Observer`: the log on `output`, stdout by default, the metrics in a registry of its own.

    `checks` counts the decisions of this process, `watched` are the collectors added by `watch`.
    """

    def __init__(self, output: Output | None = None, *, log_decisions: bool = True) -> None:
        self._metrics = Metrics()
        self._tally = self._metrics.tally
        self.registry = self._metrics.registry
        self.watched: list[Collector] = []
        self.checks = 0
        self._lines = LineOutput(output or sys.stdout.buffer, self._metrics.log_lines_lost.inc)
        self._log_decisions = log_decisions
        self._members = RowParts(SharedCache(), members_of_rows)
        self._allowed: list[Decided] = []
        self._later: Later | None = None
        self._scheduled = False

    def write_in_batches(self, later: Later, memory: SharedCache) -> None:
        """Let allowed decisions wait for others from now on, and keep parts of their lines in `memory`."""
        self._later = later
        self._members = RowParts(memory, members_of_rows)

    def flush(self) -> None:
        """Tally and write what waits."""
        self._scheduled = False
        allowed, self._allowed = self._allowed, []
        for decided in allowed:
            self._count(decided)
        if self._log_decisions:
            # Allowed ones alone wait.
            lines = [line_of(each, self._members.of(each.decision)) for each in allowed]  # type: ignore[arg-type]
            self._lines.write("".join(lines).encode())
        self._lines.flush()

    def watch(self, crls: WatchedCrls, clock: Clock) -> None:
        """Add the metrics of CRLs and their sources."""
        self._collect(CrlMetrics(crls, clock))

    def watch_directory(
        self, directory: WatchedDirectory, crls: WatchedCrls, key_sets: Callable[[], Mapping[str, float]], clock: Clock
    ) -> None:
        """Add the metrics of what ends when, and of whom `required` would refuse."""
        self._collect(DirectoryMetrics(directory, crls, key_sets, clock))

    def _collect(self, collector: Collector) -> None:
        self.watched.append(collector)
        self.registry.register(collector)

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:
        """Tally and log one decision; see `authz.ports.Observer`."""
        self.checks += 1
        at, traced = time.time_ns(), check.headers_by_folded_name.get(b"traceparent")
        decided = Decided(at, check.decision_id, check.host, check.method, listener.name, decision, seconds, traced)
        if isinstance(decision, Allow):
            self._allowed.append(decided)
            if self._later is None or len(self._allowed) >= BATCH_LINES:
                self.flush()
            elif not self._scheduled:
                self._scheduled = True
                self._later(BATCH_SECONDS, self.flush)
            return
        # Behind the lines before it, and before the answer.
        self.flush()
        self._count(decided)
        self._lines.write(line_of(decided, members_of_rows(decision)).encode())

    def _count(self, decided: Decided) -> None:
        decision = decided.decision
        outcome, reason = ("allow", "") if isinstance(decision, Allow) else ("deny", decision.reason.value)
        self._tally.add((decided.listener, reason, revocation_result(decision)), outcome, decided.seconds)
        if isinstance(decision, Allow) and decision.binding is not None and decision.binding.refusal is not None:
            self._metrics.observed.labels(decision.binding.refusal.value).inc()

    def count(self) -> None:
        """Count the decisions tallied since the last time; those that cannot be counted wait for the next time."""
        self.flush()
        try:
            self._metrics.count()
        except (OSError, ValueError) as error:
            self._write("warning", "uncounted", error=type(error).__name__)

    def _write(self, level: str, event: str, **fields: object) -> None:
        self._lines.write(line_of_event(level, event, fields))

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """Log where a check failed, without its input; see `authz.ports.Observer`."""
        self._metrics.failures.inc()
        name, at, trace = type(error).__name__, innermost_frame(error), traceparent(check.headers)
        more = {"traceparent": trace} if trace else {}
        self._write(
            "error", "failure", decision_id=check.decision_id, listener=listener.name, error=name, at=at, **more
        )

    def proxy_refused(self, listener: str, why: str) -> None:
        """Count and log a connection that is no allowed proxy's."""
        self._metrics.proxies.labels(listener).inc()
        self._write("warning", "proxy_refused", listener=listener, detail=why)

    def lost(self, decisions: int) -> None:
        """Count decisions that the history could not keep."""
        self._metrics.lost.inc(decisions)

    def warn(self, message: str) -> None:
        """Log something that the operator should correct."""
        self._write("warning", "warning", message=message)

    def say(self, event: str, **fields: object) -> None:
        """Log something that the operator may want to know: starts, stops, addresses."""
        self._write("info", event, **fields)

    def confirm(self, confirmed: bool) -> None:  # noqa: FBT001 - a gauge's value
        """Set the metric that says whether what checks rely on is confirmed."""
        self._metrics.confirmed.set(confirmed)
