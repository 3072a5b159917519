"""Replaces processes one at a time, each worker by one that is ready before it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from authz.supervision.process_table import Family, Member, Role


class Rolling:
    """What is still to be replaced.

    `start` starts a worker, or says with None that it cannot be done now. `failed` is told of the one that stays and
    of its replacement, which did not come to be ready.
    """

    def __init__(
        self, family: Family, start: Callable[[float], Member | None], failed: Callable[[Member, Member], None]
    ) -> None:
        self._family = family
        self._start = start
        self._failed = failed
        self._queue: deque[Member] = deque()
        self._old: Member | None = None
        self._new: Member | None = None

    def __bool__(self) -> bool:
        return bool(self._queue) or self._new is not None

    @property
    def additional(self) -> int:
        """How many workers there are only because another is being replaced."""
        both = (self._old, self._new)
        return int(all(one is not None and one in self._family and one.stopping is None for one in both))

    def begin(self, members: Iterable[Member]) -> None:
        """Replace these as well, the workers first: one process keeps the CRLs at a time."""
        queue = dict.fromkeys((*self._queue, *members))
        self._queue = deque(sorted(queue, key=lambda one: one.role is Role.KEEPER))

    def forget(self) -> None:
        """Replace no more."""
        self._queue.clear()

    def step(self, now: float, workers: int) -> None:
        """Go on as far as possible; `workers` is how many there are to be."""
        if self._new is not None and not self._settled(now):
            return
        while self._queue and self._new is None:
            member = self._queue[0]
            if member in self._family and member.stopping is None and not self._replace(member, now, workers):
                return
            self._queue.popleft()

    def _replace(self, member: Member, now: float, workers: int) -> bool:
        """Whether the member's end has begun, in one way or another."""
        if member.role is Role.KEEPER or len(self._family.workers) > workers:
            # Whoever is missing then is started as after a death.
            member.stop(now)
            return True
        new = self._start(now)
        if new is None:
            return False
        self._old, self._new = member, new
        return True

    def _settled(self, now: float) -> bool:
        """Whether the one being replaced is gone, or stays."""
        old, new = self._old, self._new
        if old is None or new is None:
            return True
        if new not in self._family:
            self._old = self._new = None
            if old in self._family:
                self._failed(old, new)
            return True
        if new.ready_since is None:
            return False
        if old in self._family:
            old.stop(now)
            return False
        self._old = self._new = None
        return True
