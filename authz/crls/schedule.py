"""When a source of CRLs is asked next: ahead of `nextUpdate`, never all at once, slower while it fails.

Pure: the clock and chance are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from authz.errors import ConfigError

MAX_DOUBLINGS: Final = 30
"""A floor of one second, doubled that often, is 34 years: beyond any ceiling of sense."""

OVERDUE_FLOORS: Final = 4
"""While certificates are refused because a CRL has expired, a source that fails is asked every so many floors at
the latest: its server may come back at any moment, and one request in a few minutes is no burden to it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`floor` and `ceiling`: the least and the most time between two fetches of a source.

    `ahead`: how long before `nextUpdate` a new CRL is asked for, though no more than half a CRL's life.
    `jitter`: the share of an interval, 0 up to but not including 1, over which fetches are spread; it
    makes an interval shorter, and longer only where the floor forbids that. Raises `ConfigError`.
    """

    floor: timedelta
    ceiling: timedelta
    ahead: timedelta
    jitter: float

    def __post_init__(self) -> None:
        if not timedelta(0) < self.floor <= self.ceiling:
            raise ConfigError(
                "the intervals between fetches are not in order", hint="the floor is above zero, the ceiling not below"
            )
        if self.ahead < timedelta(0):
            raise ConfigError("a CRL cannot be refreshed ahead by less than nothing", hint="give a positive time")
        if not 0 <= self.jitter < 1:
            raise ConfigError("the jitter is a share of the interval", hint="give a number from 0 to below 1")

    def next_fetch(
        self,
        now: datetime,
        fetched_at: datetime | None,
        this_update: datetime | None,
        next_update: datetime | None,
        failures: int,
        random: float,
    ) -> datetime:
        """When to ask next, not before `now` and not later than `now` and the longest interval.

        `fetched_at` is when the source was last asked, whatever came of it; `this_update` and `next_update`
        are of the CRL held, None without one; `failures` is how often it failed in a row; `random` is
        a number from 0 to below 1.
        """
        # A time of asking that lies ahead comes from a clock that was set back: nothing can be counted from it.
        if fetched_at is None or fetched_at > now:
            return now
        wait = self._back_off(fetched_at, next_update, failures) if failures else self.ceiling
        if not failures and next_update is not None:
            wait = next_update - fetched_at - self._ahead(this_update, next_update)
        due = fetched_at + self._spread(wait, random)
        return max(now, due)

    def _ahead(self, this_update: datetime | None, next_update: datetime) -> timedelta:
        """A CRL that lives for minutes is not asked for hours ahead."""
        if this_update is None:
            return self.ahead
        return min(self.ahead, max(next_update - this_update, timedelta(0)) / 2)

    def _back_off(self, fetched_at: datetime, next_update: datetime | None, failures: int) -> timedelta:
        """Doubled with each failure; but half the time that is left to `nextUpdate`, so that tries are left too."""
        # Compared as a number: a long floor, doubled often, is more than a time can hold.
        times = 1 << min(failures - 1, MAX_DOUBLINGS)
        wait = self.floor * times if times < self.ceiling / self.floor else self.ceiling
        if next_update is None:
            return wait
        left = next_update - fetched_at
        return min(wait, left / 2 if left > timedelta(0) else self.floor * OVERDUE_FLOORS)

    def _spread(self, wait: timedelta, random: float) -> timedelta:
        """A time up to `wait`, between floor and ceiling, by chance within a share of it."""
        latest = min(max(wait, self.floor * (1 + self.jitter)), self.ceiling)
        earliest = max(latest * (1 - self.jitter), self.floor)
        return earliest + (latest - earliest) * random
