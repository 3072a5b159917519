"""Replaces processes one at a time, each worker by one that is ready before it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from authz.supervision.process_table import ChildProcess, ProcessTable, Role


class RollingRestart:
    """The processes still to be replaced.

    `start` starts a worker, or returns None when that cannot be done now. `failed` is called with the process that
    stays and its replacement, which did not become ready.
    """

    def __init__(
        self,
        processes: ProcessTable,
        start: Callable[[float], ChildProcess | None],
        failed: Callable[[ChildProcess, ChildProcess], None],
    ) -> None:
        self._processes = processes
        self._start = start
        self._failed = failed
        self._queue: deque[ChildProcess] = deque()
        self._old: ChildProcess | None = None
        self._new: ChildProcess | None = None

    def __bool__(self) -> bool:
        return bool(self._queue) or self._new is not None

    @property
    def additional(self) -> int:
        """How many workers there are only because another is being replaced."""
        both = (self._old, self._new)
        running = (child is not None and child in self._processes and child.stopping_since is None for child in both)
        return int(all(running))

    def begin(self, children: Iterable[ChildProcess]) -> None:
        """Replace these as well, the workers first: there is one CRL manager at a time."""
        queue = dict.fromkeys((*self._queue, *children))
        self._queue = deque(sorted(queue, key=lambda child: child.role is Role.CRL_MANAGER))

    def cancel(self) -> None:
        """Replace no more."""
        self._queue.clear()

    def step(self, now: float, workers: int) -> None:
        """Go on as far as possible; `workers` is how many there are to be."""
        if self._new is not None and not self._settled(now):
            return
        while self._queue and self._new is None:
            child = self._queue[0]
            if child in self._processes and child.stopping_since is None and not self._replace(child, now, workers):
                return
            self._queue.popleft()

    def _replace(self, child: ChildProcess, now: float, workers: int) -> bool:
        """Whether the child's end has begun, in one way or another."""
        if child.role is Role.CRL_MANAGER or len(self._processes.workers) > workers:
            # A process that is missing then is started as after a death.
            child.stop(now)
            return True
        new = self._start(now)
        if new is None:
            return False
        self._old, self._new = child, new
        return True

    def _settled(self, now: float) -> bool:
        """Whether the process being replaced is gone, or stays."""
        old, new = self._old, self._new
        if old is None or new is None:
            return True
        if new not in self._processes:
            self._old = self._new = None
            if old in self._processes:
                self._failed(old, new)
            return True
        if new.ready_since is None:
            return False
        if old in self._processes:
            old.stop(now)
            return False
        self._old = self._new = None
        return True
