"""When a process that died is started again. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STEADY_SECONDS: Final = 10.0
"""How long a process must have been ready for its death to be an accident."""

FREE: Final = 2
"""Deaths in a row, of each process there is to be, after which it is started again at once."""

FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0

MAX_FRUITLESS: Final = 10
"""Starts in a row, of each process there is to be, of which none came to be ready: that must be seen from outside."""


@dataclass(slots=True)
class Restarts:
    """The deaths in a row of processes of one kind, and the starts in a row that came to nothing.

    `hopeless` says that there were so many of these that trying again is of no use.
    """

    deaths: int = 0
    fruitless: int = 0
    hopeless: bool = False

    def died(self, ready_for: float | None, processes: int = 1) -> float:
        """Seconds until the next start; `ready_for` is how long the process was ready, None if it never was.

        `processes` is how many of its kind there are to be.
        """
        self.fruitless = self.fruitless + 1 if ready_for is None else 0
        self.hopeless = self.fruitless >= MAX_FRUITLESS * processes
        steady = ready_for is not None and ready_for >= STEADY_SECONDS
        self.deaths = 0 if steady else self.deaths + 1
        beyond = self.deaths - FREE * processes
        return 0.0 if beyond <= 0 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (beyond - 1))
