"""Children that do not do their work: hung, never ready, overdue to end, or too large."""

from __future__ import annotations

import signal
from typing import Final

from authz.supervision.metrics import usage
from authz.supervision.process_table import ProcessTable
from authz.supervision.rolling_restart import RollingRestart
from authz.telemetry import Telemetry

HANG_SECONDS: Final = 5.0
"""How long a child may be silent; its heartbeat comes every half second."""

READY_SECONDS: Final = 60.0
"""How long a worker may take to be ready once the CRL manager is."""

KILL_SECONDS: Final = 5.0
"""How long past its bound a child that was asked to end may live."""

MEMORY_SECONDS: Final = 5.0
"""How often the workers' memory is measured."""


class Watchdog:
    """Kills and replaces children. Moments are seconds of the monotonic clock."""

    def __init__(self, processes: ProcessTable, rolling: RollingRestart, telemetry: Telemetry) -> None:
        self._processes = processes
        self._rolling = rolling
        self._telemetry = telemetry
        self._turned_at = 0.0
        self._measured_at = 0.0

    def forgive_own_pause(self, now: float) -> None:
        """A supervisor that was paused itself, perhaps with all its children, must not take them for hung."""
        if now - self._turned_at > HANG_SECONDS / 2:
            for child in self._processes:
                child.heard_at = now
        self._turned_at = now

    def kill_hung(self, now: float) -> None:
        """Kill children whose event loop does not turn: they do nothing else either."""
        for child in self._processes:
            if child.stopping_since is None and now - child.heard_at > HANG_SECONDS:
                self._telemetry.warn(f"{child.slot} (process {child.pid}) hangs, and is killed")
                child.heard_at = now
                child.kill(signal.SIGKILL)

    def kill_never_ready(self, now: float) -> None:
        """Kill workers that do not become ready: they wait for the CRL manager's CRLs, and for nothing else."""
        manager = self._processes.crl_manager
        if manager is None or manager.ready_since is None:
            return
        for worker in self._processes.workers:
            if worker.ready_since is None and now - max(worker.started_at, manager.ready_since) > READY_SECONDS:
                self._telemetry.warn(f"{worker.slot} (process {worker.pid}) does not become ready, and is killed")
                worker.started_at = now
                worker.kill(signal.SIGKILL)

    def kill_overdue(self, now: float, stop_seconds: float) -> None:
        """Kill children that were asked to end and did not within `stop_seconds` and a little more."""
        for child in self._processes:
            if child.stopping_since is not None and now - child.stopping_since > stop_seconds + KILL_SECONDS:
                child.kill(signal.SIGKILL)

    def recycle_oversized(self, now: float, max_bytes: int) -> None:
        """Replace a worker that has more than `max_bytes` of memory of its own."""
        if now - self._measured_at < MEMORY_SECONDS:
            return
        self._measured_at = now
        for worker in self._processes.workers:
            used = usage(worker.pid)
            if worker.serving and used is not None and used.own > max_bytes and not self._rolling:
                self._telemetry.warn(
                    f"{worker.slot} (process {worker.pid}) has {used.own / (1 << 20):.0f} MiB; replaced"
                )
                self._rolling.begin([worker])
