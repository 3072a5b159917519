"""Sends the CRLs that one process keeps fresh to the workers, and answers their fetch requests.

Each worker is served by a task of its own, from what is held at that moment: a slow one gets the newest when it is
ready for it, never a queue of old states, and no other worker waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from authz.crls.indexing.sealed_memory import map_sealed, seal
from authz.crls.refresher import Refresher
from authz.crls.share.path_queue import PathQueue
from authz.crls.share.protocol import ORGANIZATION, Channel, CrlManifest, Message, MessageKind, unpacked
from authz.errors import IndexingError, Refused
from authz.ipc import PeerClosed
from authz.pki import Crl

HEARTBEAT_SECONDS: Final = 0.25
"""How often a worker is sent a heartbeat; one that received none for 2 seconds uses no CRL any more."""

_Reading = Callable[[int, list[bytes]], Coroutine[Any, Any, None]]
"""What becomes of an organization's path."""


class Publisher:
    """Made inside the event loop of the process that keeps the CRLs; `close` closes every worker's channel.

    `descriptor_of` gives a CRL as sealed memory, `current` the moment (ns of the monotonic clock) up to which
    everything was taken over, or None. `warn` reports what the operator should mend.
    """

    def __init__(
        self,
        crls: Refresher,
        *,
        descriptor_of: Callable[[Crl], int],
        current: Callable[[], int | None],
        warn: Callable[[str], None],
    ) -> None:
        self.crls = crls
        self.descriptor_of = descriptor_of
        self.current = current
        self.warn = warn
        self.revision = 0
        self.paths = PathQueue()
        self._reading = asyncio.create_task(self.paths.serve(), name="reading the paths that workers report")
        self._subscriptions: dict[asyncio.Task[None], Subscription] = {}
        crls.set_on_change(self._on_change)

    def _on_change(self) -> None:
        self.revision += 1
        for subscription in self._subscriptions.values():
            subscription.wake.set()

    def attach(self, connection: socket.socket) -> None:
        """Serve the worker at the other end of `connection`, until it closes it."""
        subscription = Subscription(self, Channel(connection))
        task = asyncio.create_task(subscription.serve(), name="sending CRLs to a worker")
        self._subscriptions[task] = subscription
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._subscriptions[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.warn(f"a worker is no longer sent CRLs: {type(error).__name__}: {error}")

    async def close(self) -> None:
        """Close every channel."""
        tasks = [*self._subscriptions, self._reading]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Subscription:
    """One worker: what it was sent, and what it requested."""

    def __init__(self, publisher: Publisher, channel: Channel) -> None:
        self.wake = asyncio.Event()
        self._publisher = publisher
        self._channel = channel
        self._known: set[bytes] = set()
        self._sent_revision = -1
        self._answered: list[int] = []
        self._readings: set[asyncio.Task[None]] = set()
        self._defect: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        """Both directions; when one ends, so does the other."""
        tasks: list[asyncio.Future[None]] = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        tasks.append(self._defect)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except PeerClosed:
            pass
        finally:
            tasks += self._readings
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._channel.close()

    # -- to the worker -----------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            self.wake.clear()
            # Taken before the manifest is: a request's answer comes after what was held when it was settled.
            answered, self._answered = self._answered, []
            moment = self._publisher.current()
            if self._sent_revision != self._publisher.revision:
                self._sent_revision = self._publisher.revision
                await self._send_crls()
            if moment is not None:
                await self._channel.send(MessageKind.HEARTBEAT, moment)
            for number in answered:
                await self._channel.send(MessageKind.ANSWER, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self.wake.wait()

    async def _send_crls(self) -> None:
        """What is held now; what the worker has already is not sent again."""
        crls = list(self._publisher.crls.held)
        manifest = CrlManifest.of(crls, self._publisher.crls.refused)
        for signed in crls:
            if signed.crl.sha256 not in self._known:
                # A descriptor of our own: while it waits to be sent, the CRL's may be closed, and its number reused.
                descriptor = os.dup(self._publisher.descriptor_of(signed.crl))
                await self._send_sealed(MessageKind.CRL, signed.crl.sha256, descriptor)
        await self._send_sealed(MessageKind.MANIFEST, b"", seal([manifest.to_bytes()]))
        self._known = set(manifest.signers)

    async def _send_sealed(self, kind: MessageKind, body: bytes, descriptor: int) -> None:
        """Send a descriptor, and close it."""
        try:
            await self._channel.send(kind, body=body, descriptor=descriptor)
        finally:
            os.close(descriptor)

    # -- from the worker ---------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            self._take(await self._channel.receive())
            # The next may have come already, and then nothing would wait for it.
            await asyncio.sleep(0)

    def _take(self, message: Message) -> None:
        path = self._path_in(message)
        if path is not None and message.kind == MessageKind.PATH_SEEN:
            self._queue(message.number, path, self._path_seen)
        elif path is not None and message.kind == MessageKind.FETCH_REQUEST:
            try:
                (organization,) = ORGANIZATION.unpack(message.body)
            except struct.error as problem:
                self._publisher.warn(f"a worker's fetch request cannot be read: {problem}")
                return
            if not self._queue(organization, path, partial(self._fetch, message.number)):
                self._settle(message.number)

    def _queue(self, organization: int, path: list[bytes], read: _Reading) -> bool:
        """Have a path read when it is its organization's turn; whether there is room for that."""
        size = sum(map(len, path))
        return self._publisher.paths.put(organization, size, lambda: self._begin(read(organization, path)))

    def _begin(self, reading: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(reading)
        self._readings.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._readings.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._defect.done():
            self._defect.set_exception(error)

    def _path_in(self, message: Message) -> list[bytes] | None:
        if message.descriptor is None:
            return None
        try:
            return unpacked(map_sealed(message.descriptor))
        except (IndexingError, ValueError) as error:
            self._publisher.warn(f"a worker's message cannot be read: {error}")
            return None
        finally:
            os.close(message.descriptor)

    async def _path_seen(self, organization: int, path: list[bytes]) -> None:
        try:
            self._publisher.crls.path_seen(organization, path)
        except Refused as refusal:
            self._publisher.warn(f"organization {organization}: {refusal}")

    async def _fetch(self, number: int, organization: int, path: list[bytes]) -> None:
        try:
            await self._publisher.crls.fetch_first(organization, path)
        except Refused as problem:
            self._publisher.warn(f"a worker's fetch request cannot be answered: {problem}")
        self._settle(number)

    def _settle(self, number: int) -> None:
        self._answered.append(number)
        self.wake.set()
