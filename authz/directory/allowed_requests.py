"""Which allowed requests the history keeps: none, the first of each user on a day, or all that there is room for.

A check leaves a note, by two calls at most; records are made of it beside the checks. What waits is bounded in bytes,
and an organization may add to it only while it has less than there is room left, so that none takes all of it.
"""

from __future__ import annotations

from datetime import date, datetime
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from authz.decision import Allow
    from authz.model import CheckRequest
    from authz.ports import Clock
    from authz.view import Listener

MAX_WAITING: Final = 250
"""The weight of the notes that wait to be written, half a second's: 1 MB."""

WEIGHT_BYTES: Final = 4096
"""A request of so many bytes weighs one more."""

MAX_USERS: Final = 100_000
"""Users of a day that a process remembers; of one forgotten the directory still has the first request."""


Note = tuple["CheckRequest", "Listener", "Allow", datetime]
"""One allowed request, as the check had it, and when."""


class AllowedRequests:
    """What is noted, until it is taken; `lost` counts what there was no room for."""

    def __init__(self, clock: Clock, *, first_only: bool) -> None:
        self.first_only = first_only
        self.lost = 0
        self._clock = clock
        self._day: date | None = None
        self._users: set[int] = set()
        self._notes: list[Note] = []
        self._weight = 0
        self._of: dict[int, int] = {}

    def note(self, check: CheckRequest, listener: Listener, decision: Allow) -> None:
        """Keep it, if it is one of those that are kept and there is room."""
        user, owner = decision.user.id, decision.user.organization_id
        if self.first_only and user in self._users:
            return
        size = len(check.target) + sum(map(len, chain.from_iterable(check.headers)))
        weight = 1 + size // WEIGHT_BYTES
        mine = self._of.get(owner, 0) + weight
        if mine > MAX_WAITING - self._weight:
            self.lost += 1
            return
        self._of[owner] = mine
        self._weight += weight
        self._users.add(user)
        self._notes.append((check, listener, decision, self._clock.now()))

    def take(self) -> tuple[list[Note], int]:
        """What was noted since the last time, and how many were lost."""
        taken, lost = self._notes, self.lost
        self._notes, self._of, self._weight, self.lost = [], {}, 0, 0
        today = self._clock.now().date()
        if today != self._day or len(self._users) > MAX_USERS or not self.first_only:
            self._day, self._users = today, set()
        return taken, lost

    def forget_users(self) -> None:
        """Note each user's next request again: what was taken could not be written."""
        self._users = set()
