"""The supervisor's children: how they are forked, connected with each other, listened to, and reaped."""

from __future__ import annotations

import math
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from typing import Final

from authz.ipc import PeerClosed
from authz.supervision.child import leave_signals_to_supervisor
from authz.supervision.control import MAX_KEY_SETS, ControlMessage, control_pair, receive, send

CRASHED: Final = 70
"""The exit code of a child that failed by a defect of ours (EX_SOFTWARE)."""

LINK_SECONDS: Final = 0.25
"""The least time between two links given to one worker: one that may open no more descriptors loses each at once."""


class Role(StrEnum):
    """What a child does."""

    WORKER = "worker"
    CRL_MANAGER = "crl-manager"


@dataclass(eq=False, slots=True)
class ChildProcess:
    """One child. `slot` is its name in metrics; moments are seconds of the monotonic clock.

    `generation` numbers the settings it was started with; `failure` is what kept it from starting, and a hint;
    `linked` is whether it has a link to the present CRL manager, which it was given at `linked_at`; `key_sets` has the
    key sets that it cannot read, each with the seconds for which its last good copy is usable.
    """

    role: Role
    slot: str
    pid: int
    control: socket.socket
    generation: int
    heard_at: float
    started_at: float
    ready_since: float | None = None
    stopping_since: float | None = None
    checks: int | None = None
    key_sets: dict[str, float] = field(default_factory=dict)
    failure: tuple[str, str] = ("", "")
    linked: bool = False
    linked_at: float = -math.inf

    @property
    def serving(self) -> bool:
        """Whether it does its work, and was not asked to end."""
        return self.ready_since is not None and self.stopping_since is None

    def stop(self, now: float) -> None:
        """Ask it to end, once."""
        if self.stopping_since is None:
            self.stopping_since = now
            self.kill(signal.SIGTERM)

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal: until it is reaped, the kernel gives its process number to no other."""
        os.kill(self.pid, number)


class ProcessTable:
    """All children, in the order of their start; `received` is called with each message of a child."""

    def __init__(
        self, selector: selectors.BaseSelector, received: Callable[[ChildProcess, ControlMessage], None]
    ) -> None:
        self._selector = selector
        self._received = received
        self._children: dict[int, ChildProcess] = {}

    def __iter__(self) -> Iterator[ChildProcess]:
        return iter(list(self._children.values()))

    def __len__(self) -> int:
        return len(self._children)

    def __contains__(self, child: ChildProcess) -> bool:
        return self._children.get(child.pid) is child

    def of(self, role: Role) -> list[ChildProcess]:
        """The children of one role, including those that were asked to end."""
        return [child for child in self if child.role is role]

    @property
    def crl_manager(self) -> ChildProcess | None:
        """The CRL manager that was not asked to end."""
        return next((child for child in self.of(Role.CRL_MANAGER) if child.stopping_since is None), None)

    @property
    def workers(self) -> list[ChildProcess]:
        """The workers that were not asked to end."""
        return [child for child in self.of(Role.WORKER) if child.stopping_since is None]

    @property
    def key_sets(self) -> dict[str, float]:
        """The key sets that a child cannot read, those first whose last good copy in any child is unusable first."""
        reported = [item for child in self for item in child.key_sets.items()]
        # The last one of a key stands: the one with the least time.
        first = dict(sorted(reported, key=itemgetter(1), reverse=True))
        return dict(sorted(first.items(), key=itemgetter(1))[:MAX_KEY_SETS])

    def spawn(self, role: Role, generation: int, now: float, work: Callable[[str, socket.socket], int]) -> ChildProcess:
        """Fork a child that does `work` (given its slot, its end of the control) and exits with what that returns.

        Raises `OSError` where the system has no memory, descriptor or process left; then there is no child.
        """
        slot = self.free_slot(role)
        control, childs_end = control_pair()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that arrives before the child has its handlers would be lost.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            pid = os.fork()
            if pid == 0:
                _run_as_child(mask, lambda: self._alone(control, lambda: work(slot, childs_end)))
        except OSError:
            control.close()
            raise
        finally:
            childs_end.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        child = ChildProcess(role, slot, pid, control, generation, now, now)
        self.adopt(child)
        return child

    def free_slot(self, role: Role) -> str:
        """The first name of a role that no child has."""
        taken = {child.slot for child in self}
        return next(name for number in range(len(taken) + 1) if (name := f"{role}-{number}") not in taken)

    def _alone(self, control: socket.socket, work: Callable[[], int]) -> int:
        """In the child: while it held the supervisor's ends, no child would notice the supervisor's death."""
        control.close()
        for child in self:
            child.control.close()
        return work()

    def adopt(self, child: ChildProcess) -> None:
        """Add a process that is already a child of this one."""
        self._children[child.pid] = child
        self._selector.register(child.control, selectors.EVENT_READ, lambda: self.receive(child))

    def receive(self, child: ChildProcess) -> None:
        """Read all messages of a child that have arrived."""
        try:
            while (message := receive(child.control)) is not None:
                self._received(child, message)
        except PeerClosed:
            return

    def link(self, now: float) -> None:
        """Give every worker that has none a link to the CRL manager."""
        manager = self.crl_manager
        if manager is None:
            return
        for worker in self.workers:
            if not worker.linked and now - worker.linked_at >= LINK_SECONDS:
                worker.linked, worker.linked_at = _link(manager, worker), now

    def reap(self) -> list[tuple[ChildProcess, int]]:
        """Reap exited children; return them with their wait status, after reading their last messages."""
        reaped = []
        for child in self:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self.receive(child)
                self._selector.unregister(child.control)
                child.control.close()
                del self._children[pid]
                reaped.append((child, status))
                if child.role is Role.CRL_MANAGER:
                    for other in self:
                        other.linked = False
        return reaped


def _link(manager: ChildProcess, worker: ChildProcess) -> bool:
    """Send each of both an end; where one does not receive its end, the other finds its own closed."""
    try:
        ends = control_pair()
    except OSError:
        return False
    both = zip((manager, worker), ends, strict=True)
    sent = [send(child.control, end.fileno(), {"link": True}) for child, end in both]
    for end in ends:
        end.close()
    return all(sent)


def _run_as_child(mask: Iterable[int], work: Callable[[], int]) -> None:
    """Do the work, and exit without running the supervisor's own clean-up."""
    code = CRASHED
    try:
        leave_signals_to_supervisor()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = work()
    finally:
        # An exception that left this frame would make a second supervisor of this process.
        try:
            if code == CRASHED:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
