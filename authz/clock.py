"""The real clock: read here, once per check, and nowhere else."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `authz.ports.Clock`."""

    def now(self) -> datetime:
        """The current moment, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary fixed point."""
        return time.monotonic()
