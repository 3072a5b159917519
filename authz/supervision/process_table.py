"""The supervisor's children: how they are started, linked with each other, listened to, and taken note of."""

from __future__ import annotations

import math
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from authz.supervision.child import end_as_the_supervisor_says
from authz.supervision.control import Gone, Told, hear, pair, tell

CRASHED: Final = 70
"""The exit code of a child that failed by a defect of ours (EX_SOFTWARE)."""

LINK_SECONDS: Final = 0.25
"""How soon a worker that lost its link is given another: whoever may open nothing more loses each at once."""


class Role(StrEnum):
    """What a child does."""

    WORKER = "worker"
    KEEPER = "keeper"


@dataclass(eq=False, slots=True)
class Member:
    """One child. `place` is its name in metrics; moments are of the monotonic clock.

    `era` tells the settings it was started with, `born` when that was, `stopping` when it was told to end, `trouble`
    what kept it from starting, and a hint; `linked` whether it has a link to the keeper of now, which it was given at
    `linked_at`.
    """

    role: Role
    place: str
    pid: int
    control: socket.socket
    era: int
    heard: float
    born: float
    ready_since: float | None = None
    stopping: float | None = None
    checks: int | None = None
    trouble: tuple[str, str] = ("", "")
    linked: bool = False
    linked_at: float = -math.inf

    @property
    def serving(self) -> bool:
        """Whether it does its work, and is to go on."""
        return self.ready_since is not None and self.stopping is None

    def stop(self, now: float) -> None:
        """Tell it to end, once."""
        if self.stopping is None:
            self.stopping = now
            self.kill(signal.SIGTERM)

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal: until it is waited for, its number is nobody else's."""
        os.kill(self.pid, number)


class Family:
    """All children, in the order of their start; `heard` is called with what one of them told."""

    def __init__(self, selector: selectors.BaseSelector, heard: Callable[[Member, Told], None]) -> None:
        self._selector = selector
        self._heard = heard
        self._members: dict[int, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: Member) -> bool:
        return self._members.get(member.pid) is member

    def of(self, role: Role) -> list[Member]:
        """Those that do one kind of work, also those that are told to end."""
        return [one for one in self if one.role is role]

    @property
    def keeper(self) -> Member | None:
        """Who keeps the CRLs, and is to go on."""
        return next((one for one in self.of(Role.KEEPER) if one.stopping is None), None)

    @property
    def workers(self) -> list[Member]:
        """The workers that are to go on."""
        return [one for one in self.of(Role.WORKER) if one.stopping is None]

    def start(self, role: Role, era: int, now: float, work: Callable[[str, socket.socket], int]) -> Member:
        """Start a child that does `work` (its place, its end of the control) and ends with what that returns.

        Raises `OSError` where there is no memory, descriptor or process to be had; then there is no child.
        """
        place = self._free_place(role)
        ours, theirs = pair()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal before the child knows what to do with it would be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            pid = os.fork()
            if pid == 0:
                _be_a_child(before, lambda: self._alone(ours, lambda: work(place, theirs)))
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        made = Member(role, place, pid, ours, era, now, now)
        self.adopt(made)
        return made

    def _free_place(self, role: Role) -> str:
        taken = {one.place for one in self}
        return next(name for at in range(len(taken) + 1) if (name := f"{role}-{at}") not in taken)

    def _alone(self, ours: socket.socket, work: Callable[[], int]) -> int:
        """In the child: as long as it had the supervisor's ends, nobody would hear that the supervisor is gone."""
        ours.close()
        for one in self:
            one.control.close()
        return work()

    def adopt(self, member: Member) -> None:
        """Take a child in that is one already."""
        self._members[member.pid] = member
        self._selector.register(member.control, selectors.EVENT_READ, lambda: self.hear(member))

    def hear(self, member: Member) -> None:
        """Take what a child told since."""
        try:
            while (told := hear(member.control)) is not None:
                self._heard(member, told)
        except Gone:
            return

    def link(self, now: float) -> None:
        """Give every worker that has none a link to whoever keeps the CRLs."""
        keeper = self.keeper
        if keeper is None:
            return
        for one in self.workers:
            if not one.linked and now - one.linked_at >= LINK_SECONDS:
                one.linked, one.linked_at = _link(keeper, one), now

    def bury(self) -> list[tuple[Member, int]]:
        """Those that ended since, with their wait status; their last words were heard."""
        found = []
        for one in self:
            pid, status = os.waitpid(one.pid, os.WNOHANG)
            if pid:
                self.hear(one)
                self._selector.unregister(one.control)
                one.control.close()
                del self._members[pid]
                found.append((one, status))
                if one.role is Role.KEEPER:
                    for other in self:
                        other.linked = False
        return found


def _link(keeper: Member, worker: Member) -> bool:
    """Hand each of both an end; of one that did not get it the other hears that it is closed."""
    try:
        ends = pair()
    except OSError:
        return False
    told = [tell(one.control, end.fileno(), {"link": True}) for one, end in zip((keeper, worker), ends, strict=True)]
    for end in ends:
        end.close()
    return all(told)


def _be_a_child(mask: Iterable[int], work: Callable[[], int]) -> None:
    """Work, and end without what the supervisor would do when it ends."""
    code = CRASHED
    try:
        end_as_the_supervisor_says()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = work()
    finally:
        # Whatever is on its way up would make a second supervisor of this process.
        try:
            if code == CRASHED:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
