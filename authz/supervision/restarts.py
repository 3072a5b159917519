"""When a process that died is restarted. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STEADY_SECONDS: Final = 10.0
"""After how long of being ready a death does not count as one in a row."""

IMMEDIATE_RESTARTS: Final = 2
"""Deaths in a row, for each configured process, after which it is restarted at once."""

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0

MAX_FAILED_STARTS: Final = 10
"""Starts in a row, for each configured process, none of which became ready: then the service gives up."""


@dataclass(slots=True)
class Restarts:
    """The deaths in a row of processes of one role, and the starts in a row after which none became ready.

    `hopeless` is whether there were so many failed starts that trying again is of no use, `next_at` the moment of the
    next start, and `total` how many deaths there were in all.
    """

    deaths: int = 0
    failed_starts: int = 0
    hopeless: bool = False
    next_at: float = 0.0
    total: int = 0

    def died(self, ready_for: float | None, processes: int = 1) -> float:
        """Seconds until the next start; `ready_for` is how long the process was ready, None if never.

        `processes` is how many of its role are configured.
        """
        self.failed_starts = self.failed_starts + 1 if ready_for is None else 0
        self.hopeless = self.failed_starts >= MAX_FAILED_STARTS * processes
        steady = ready_for is not None and ready_for >= STEADY_SECONDS
        self.deaths = 0 if steady else self.deaths + 1
        self.total += 1
        beyond = self.deaths - IMMEDIATE_RESTARTS * processes
        return 0.0 if beyond <= 0 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (beyond - 1))
