"""What every child of the supervisor does beside its own work: it listens, sends heartbeats, and ends when asked to."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from authz.errors import ConfigError, StoreError
from authz.supervision.control import ControlMessage, PeerClosed, receive, send

HEARTBEAT_SECONDS: Final = 0.5
"""How often a child reports that its event loop turns."""

IGNORED: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
"""Signals that a terminal, or an operator, sends to the whole process group: only the supervisor acts on them."""


class ChildTask(Protocol):
    """A child's own work."""

    async def start(self) -> None:
        """Be ready when this returns. Raises `ConfigError` or `StoreError`."""
        ...

    async def stop(self) -> None:
        """Finish what is in flight, and release everything; also after a start that failed."""
        ...

    def receive(self, message: ControlMessage) -> None:
        """Take a message of the supervisor; its descriptor is the task's to close."""
        ...

    def heartbeat(self) -> dict[str, Any]:
        """What each heartbeat reports to the supervisor."""
        ...


class Child:
    """One child's life, inside its event loop; `control` is its end of the pair."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._ending = asyncio.Event()
        self._failure: BaseException | None = None
        self._ready = False
        self._unlinked = False

    def fail(self, error: BaseException) -> None:
        """End because of an error from which this process cannot recover."""
        self._failure = error
        self._ending.set()

    def keep(self, sha256: bytes, descriptor: int) -> None:
        """Hand an image of a CRL to the supervisor, for this process's successor."""
        send(self._control, descriptor, {"image": sha256.hex()})

    def drop(self, sha256: bytes) -> None:
        """Let the supervisor close an image."""
        send(self._control, None, {"dropped": sha256.hex()})

    def unlinked(self) -> None:
        """Ask the supervisor for another link to the CRL manager; repeated until the message leaves."""
        self._unlinked = not send(self._control, None, {"unlinked": True})

    async def live(self, make: Callable[[], ChildTask]) -> int:
        """Run the task that `make` makes until the supervisor ends it, or is gone; return the exit code."""
        try:
            task = make()
        except (ConfigError, StoreError) as error:
            return self._give_up(error)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ending.set)
        loop.add_reader(self._control, self._listen, task)
        beating = asyncio.create_task(self._beat(task))
        try:
            return await self._work(task)
        finally:
            await task.stop()
            beating.cancel()
            loop.remove_reader(self._control)

    def _give_up(self, error: ConfigError | StoreError) -> int:
        send(self._control, None, {"error": str(error), "hint": error.hint})
        return 1

    async def _work(self, task: ChildTask) -> int:
        starting = asyncio.create_task(task.start())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait([starting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return self._outcome()
        try:
            await starting
        except (ConfigError, StoreError) as error:
            return self._give_up(error)
        finally:
            ending.cancel()
        self._ready = True
        self._report(task)
        await self._ending.wait()
        return self._outcome()

    def _outcome(self) -> int:
        """The exit code 0, unless it ends because of an error: then this raises it."""
        if self._failure is not None:
            raise self._failure
        return 0

    def _listen(self, task: ChildTask) -> None:
        try:
            while (message := receive(self._control)) is not None:
                task.receive(message)
        except PeerClosed:
            asyncio.get_running_loop().remove_reader(self._control)
            self._ending.set()

    async def _beat(self, task: ChildTask) -> None:
        while True:
            self._report(task)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _report(self, task: ChildTask) -> None:
        if self._unlinked:
            self.unlinked()
        send(self._control, None, {"ready": self._ready, **task.heartbeat()})


def leave_signals_to_supervisor() -> None:
    """Before the event loop: a child does nothing of its own on what a process group is sent."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
