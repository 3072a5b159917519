"""The real clock: read here, once per check, and nowhere else."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial


class SystemClock:
    """Implements `authz.ports.Clock`, without calls of Python functions: a check reads it six times."""

    now = staticmethod(partial(datetime.now, UTC))
    """The current moment, aware and in UTC."""

    monotonic = staticmethod(time.monotonic)
    """Seconds since an arbitrary fixed point."""
