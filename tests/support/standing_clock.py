"""A clock that stands."""

from __future__ import annotations

from datetime import datetime

from support.certificates import NOW


class StandingClock:
    """Implements `authz.ports.Clock`: always the same moment, until a test sets another."""

    def __init__(self) -> None:
        self.moment = NOW
        self.seconds = 0.0

    def now(self) -> datetime:
        """The moment."""
        return self.moment

    def monotonic(self) -> float:
        """The seconds."""
        return self.seconds
