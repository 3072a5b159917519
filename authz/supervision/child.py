"""What every child of the supervisor does beside its own work: it listens, tells that it lives, and ends when told."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from authz.errors import ConfigError, StoreError
from authz.supervision.control import Gone, Told, hear, tell

BEAT_SECONDS: Final = 0.5
"""How often a child tells that its event loop turns."""

IGNORED: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
"""What a terminal, or an operator, sends to all processes of the group is the supervisor's to act on."""


class Part(Protocol):
    """A child's own work."""

    async def start(self) -> None:
        """Be ready when this returns. Raises `ConfigError` or `StoreError`."""
        ...

    async def stop(self) -> None:
        """Finish what is in flight, and give everything back; also after a start that failed."""
        ...

    def told(self, told: Told) -> None:
        """The supervisor told something; its descriptor is the part's."""
        ...

    def beat(self) -> dict[str, Any]:
        """What the supervisor is to know at every heartbeat."""
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
        """End: nothing sensible can be done any more."""
        self._failure = error
        self._ending.set()

    def keep(self, sha256: bytes, descriptor: int) -> None:
        """Let the supervisor keep an image of a CRL."""
        tell(self._control, descriptor, {"image": sha256.hex()})

    def drop(self, sha256: bytes) -> None:
        """Let the supervisor give an image back."""
        tell(self._control, None, {"dropped": sha256.hex()})

    def unlinked(self) -> None:
        """Let the supervisor make another link to whoever keeps the CRLs; it is told until it hears."""
        self._unlinked = not tell(self._control, None, {"unlinked": True})

    async def live(self, make: Callable[[], Part]) -> int:
        """Do the work of the part that `make` makes until the supervisor ends it, or is gone; the exit code."""
        try:
            part = make()
        except (ConfigError, StoreError) as error:
            return self._give_up(error)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ending.set)
        loop.add_reader(self._control, self._listen, part)
        beating = asyncio.create_task(self._beat(part))
        try:
            return await self._work(part)
        finally:
            await part.stop()
            beating.cancel()
            loop.remove_reader(self._control)

    def _give_up(self, error: ConfigError | StoreError) -> int:
        tell(self._control, None, {"error": str(error), "hint": error.hint})
        return 1

    async def _work(self, part: Part) -> int:
        starting = asyncio.create_task(part.start())
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
        self._tell(part)
        await self._ending.wait()
        return self._outcome()

    def _outcome(self) -> int:
        """0, unless it ends because it failed. Raises what it failed by."""
        if self._failure is not None:
            raise self._failure
        return 0

    def _listen(self, part: Part) -> None:
        try:
            while (told := hear(self._control)) is not None:
                part.told(told)
        except Gone:
            asyncio.get_running_loop().remove_reader(self._control)
            self._ending.set()

    async def _beat(self, part: Part) -> None:
        while True:
            self._tell(part)
            await asyncio.sleep(BEAT_SECONDS)

    def _tell(self, part: Part) -> None:
        if self._unlinked:
            self.unlinked()
        tell(self._control, None, {"ready": self._ready, **part.beat()})


def end_as_the_supervisor_says() -> None:
    """Before the event loop: a child does nothing of its own on what a group of processes is sent."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for one in IGNORED:
        signal.signal(one, signal.SIG_IGN)
