"""Hands the CRLs that one process keeps fresh to those that look at them, and their questions to it.

Each of them is told the same by a task of its own, from what is held at that moment: whoever is slow gets
the newest when he is ready for it, never a queue of what was, and nobody waits for him.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from authz.crls.acceptance import Held
from authz.crls.share.manifest import Listed
from authz.crls.share.path_queue import Desk
from authz.crls.share.protocol import Kind, Link, LinkLost, Message, unpacked
from authz.crls.source import Source
from authz.errors import IndexingError, Refused
from authz.pki import Crl

TELL_SECONDS: Final = 0.25
"""How often it is told that nothing is new; who was not told for 2 seconds looks at nothing any more."""

ORGANIZATION: Final = struct.Struct("=Q")

_Reading = Callable[[int, list[bytes]], Coroutine[Any, Any, None]]
"""What becomes of an organization's path."""


class Keeper(Protocol):
    """Who keeps the CRLs fresh: `authz.crls.refresher.Refresher`."""

    changed: Callable[[], None]

    @property
    def held(self) -> Sequence[Held]:
        """Every CRL that checks may look at."""
        ...

    @property
    def refused(self) -> Collection[Source]:
        """The sources whose last answer was refused."""
        ...

    async def first_sight(self, organization: int, path: Sequence[bytes]) -> None:
        """Wait for the CRLs of a path, though not for long. Raises `Refused`."""
        ...

    def met(self, organization: int, path: Sequence[bytes]) -> None:
        """A path verified. Raises `Refused`."""
        ...


class SealedMemory(Protocol):
    """How octets become memory that cannot be changed, and back; see `authz.crls.indexing`."""

    def seal(self, pieces: Iterable[bytes]) -> int:
        """A descriptor, which the caller closes. Raises `OSError`."""
        ...

    def map(self, descriptor: int) -> memoryview:
        """The content, which stays when the descriptor is closed. Raises `IndexingError`."""
        ...


class Feed:
    """Made inside the event loop of the process that keeps the CRLs; `close` hangs up.

    `descriptor_of` gives a CRL as sealed memory, `current` the moment (ns of the monotonic clock) up to which
    everything was taken over, or None. `warn` is told what the operator should mend.
    """

    def __init__(
        self,
        keeper: Keeper,
        memory: SealedMemory,
        *,
        descriptor_of: Callable[[Crl], int],
        current: Callable[[], int | None],
        warn: Callable[[str], None],
    ) -> None:
        self.keeper = keeper
        self.memory = memory
        self.descriptor_of = descriptor_of
        self.current = current
        self.warn = warn
        self.revision = 0
        self.desk = Desk()
        self._reading = asyncio.create_task(self.desk.serve(), name="reading what workers say of paths")
        self._tasks: dict[asyncio.Task[None], _Line] = {}
        keeper.changed = self._changed

    def _changed(self) -> None:
        self.revision += 1
        for one in self._tasks.values():
            one.news.set()

    def attach(self, connection: socket.socket) -> None:
        """Serve the process at the other end of `connection`, until it hangs up."""
        line = _Line(self, Link(connection))
        task = asyncio.create_task(line.serve(), name="feeding a worker with CRLs")
        self._tasks[task] = line
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.warn(f"a worker is no longer fed with CRLs: {type(error).__name__}: {error}")

    async def close(self) -> None:
        """Hang up on everybody."""
        tasks = [*self._tasks, self._reading]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Line:
    """The feed of one process: what it was told, and what it asked."""

    def __init__(self, feed: Feed, link: Link) -> None:
        self.news = asyncio.Event()
        self._feed = feed
        self._link = link
        self._known: set[bytes] = set()
        self._told = -1
        self._answered: list[int] = []
        self._asked: set[asyncio.Task[None]] = set()
        self._defect: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        """Both directions; when one ends, so does the other."""
        tasks: list[asyncio.Future[None]] = [asyncio.create_task(self._tell()), asyncio.create_task(self._listen())]
        tasks.append(self._defect)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        except LinkLost:
            pass
        finally:
            tasks += self._asked
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._link.close()

    # -- what is told ------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            self.news.clear()
            # Taken before the list is: whoever asked is to look at what came until he was answered.
            answered, self._answered = self._answered, []
            moment = self._feed.current()
            if self._told != self._feed.revision:
                self._told = self._feed.revision
                await self._tell_all()
            if moment is not None:
                await self._link.send(Kind.CURRENT, moment)
            for one in answered:
                await self._link.send(Kind.ANSWER, one)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_SECONDS):
                    await self.news.wait()

    async def _tell_all(self) -> None:
        """What is held now; what the other end has already does not travel again."""
        held = list(self._feed.keeper.held)
        listed = Listed.of(held, self._feed.keeper.refused)
        for one in held:
            if one.crl.sha256 not in self._known:
                # One of our own: while it waits to be sent, the CRL's may be given back, and its number be another's.
                await self._send(Kind.CRL, one.crl.sha256, os.dup(self._feed.descriptor_of(one.crl)))
        await self._send(Kind.LISTED, b"", self._feed.memory.seal([listed.to_bytes()]))
        self._known = set(listed.signers)

    async def _send(self, kind: Kind, body: bytes, descriptor: int) -> None:
        """Send a descriptor, and close it."""
        try:
            await self._link.send(kind, body=body, descriptor=descriptor)
        finally:
            os.close(descriptor)

    # -- what is asked -----------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            self._take(await self._link.receive())
            # The next may have come already, and then nothing would wait for it.
            await asyncio.sleep(0)

    def _take(self, message: Message) -> None:
        path = self._path_in(message)
        if path is not None and message.kind == Kind.MET:
            self._put(message.number, path, self._met)
        elif path is not None and message.kind == Kind.QUESTION:
            try:
                (organization,) = ORGANIZATION.unpack(message.body)
            except struct.error as problem:
                self._feed.warn(f"a worker's question cannot be read: {problem}")
                return
            if not self._put(organization, path, partial(self._answer, message.number)):
                self._settle(message.number)

    def _put(self, organization: int, path: list[bytes], read: _Reading) -> bool:
        """Have a path read when it is its organization's turn; whether there is room for that."""
        return self._feed.desk.put(organization, sum(map(len, path)), lambda: self._begin(read(organization, path)))

    def _begin(self, reading: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(reading)
        self._asked.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._asked.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._defect.done():
            self._defect.set_exception(error)

    def _path_in(self, message: Message) -> list[bytes] | None:
        if message.descriptor is None:
            return None
        try:
            return unpacked(self._feed.memory.map(message.descriptor))
        except (IndexingError, ValueError) as error:
            self._feed.warn(f"a worker's message cannot be read: {error}")
            return None
        finally:
            os.close(message.descriptor)

    async def _met(self, organization: int, path: list[bytes]) -> None:
        try:
            self._feed.keeper.met(organization, path)
        except Refused as refusal:
            self._feed.warn(f"organization {organization}: {refusal}")

    async def _answer(self, number: int, organization: int, path: list[bytes]) -> None:
        try:
            await self._feed.keeper.first_sight(organization, path)
        except Refused as problem:
            self._feed.warn(f"a worker's question cannot be answered: {problem}")
        self._settle(number)

    def _settle(self, number: int) -> None:
        self._answered.append(number)
        self.news.set()
