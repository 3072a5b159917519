"""Children that are there and do not do their work: silent, never ready, late to end, or too large."""

from __future__ import annotations

import signal
from typing import Final

from authz.supervision.metrics import usage
from authz.supervision.process_table import Family
from authz.supervision.rolling_restart import Rolling
from authz.telemetry import Telemetry

HANG_SECONDS: Final = 5.0
"""How long a child may be silent; its heartbeat comes every half second."""

READY_SECONDS: Final = 60.0
"""How long a worker may take to be ready once there is a keeper."""

KILL_SECONDS: Final = 5.0
"""How much longer than it may take a child that was told to end lives."""

MEMORY_SECONDS: Final = 5.0
"""How often the workers' memory is looked at."""


class Watch:
    """Whom to kill, and whom to replace. Moments are of the monotonic clock, in seconds."""

    def __init__(self, family: Family, rolling: Rolling, telemetry: Telemetry) -> None:
        self._family = family
        self._rolling = rolling
        self._telemetry = telemetry
        self._turned_at = 0.0
        self._looked_at = 0.0

    def forgive_own_absence(self, now: float) -> None:
        """Who was paused himself, with all his children perhaps, must not take them for hanging."""
        if now - self._turned_at > HANG_SECONDS / 2:
            for one in self._family:
                one.heard = now
        self._turned_at = now

    def kill_the_silent(self, now: float) -> None:
        """Whose event loop does not turn does nothing else either."""
        for one in self._family:
            if one.stopping is None and now - one.heard > HANG_SECONDS:
                self._telemetry.warn(f"{one.place} (process {one.pid}) hangs, and is killed")
                one.heard = now
                one.kill(signal.SIGKILL)

    def kill_the_unready(self, now: float) -> None:
        """A worker waits for the keeper's CRLs, and for nothing else that may take long."""
        keeper = self._family.keeper
        if keeper is None or keeper.ready_since is None:
            return
        for one in self._family.workers:
            if one.ready_since is None and now - max(one.born, keeper.ready_since) > READY_SECONDS:
                self._telemetry.warn(f"{one.place} (process {one.pid}) does not come to be ready, and is killed")
                one.born = now
                one.kill(signal.SIGKILL)

    def kill_the_late(self, now: float, stop_seconds: float) -> None:
        """Who was told to end has `stop_seconds` for what is in flight, and a little more."""
        for one in self._family:
            if one.stopping is not None and now - one.stopping > stop_seconds + KILL_SECONDS:
                one.kill(signal.SIGKILL)

    def replace_the_large(self, now: float, octets: int) -> None:
        """A worker that has more memory of its own than that; it is looked for now and then."""
        if now - self._looked_at < MEMORY_SECONDS:
            return
        self._looked_at = now
        for one in self._family.workers:
            found = usage(one.pid)
            if one.serving and found is not None and found.own > octets and not self._rolling:
                self._telemetry.warn(f"{one.place} (process {one.pid}) has {found.own / (1 << 20):.0f} MiB; replaced")
                self._rolling.begin([one])
