"""The process that keeps the CRLs fresh for all workers; it answers the operators' listener, too."""

from __future__ import annotations

import gc
import os
import socket
from typing import Any

from authz.app.config import Settings
from authz.app.crls import KeptFresh
from authz.app.listeners import OPS, Sockets, backlog_of
from authz.clock import SystemClock
from authz.crls.indexing.sealed_memory import Memory
from authz.crls.indexing.shared_images import Shelf
from authz.crls.share.publisher import Feed
from authz.directory import DirectoryReader
from authz.errors import Refused, StoreError
from authz.supervision.child import Child
from authz.supervision.control import Told
from authz.supervision.metrics import Processes, gathered
from authz.telemetry import Telemetry
from authz.web.listeners import Listeners
from authz.web.ops import Ops


class Keeper:
    """Implements `authz.supervision.child.Part`. Made inside the event loop; `images` are from its predecessor."""

    def __init__(
        self,
        settings: Settings,
        sockets: Sockets,
        telemetry: Telemetry,
        child: Child,
        images: dict[bytes, int],
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._sockets = sockets
        clock = SystemClock()
        self._shelf = Shelf(images, kept=child.keep, dropped=child.drop)
        self._kept = KeptFresh(settings, clock, telemetry, self._shelf.index)
        crls = self._kept.view
        self._directory = DirectoryReader(settings.database, crls, monotonic=clock.monotonic, warn=telemetry.warn)
        self._directory.failed_by = child.fail
        self._feed = Feed(
            crls, Memory(), descriptor_of=self._shelf.descriptor, current=self._current, warn=telemetry.warn
        )
        self._listeners = Listeners(telemetry)
        self._processes = Processes()
        self._started = False
        self._early: list[socket.socket] = []

    def _current(self) -> int | None:
        """The moment up to which the directory's CRLs were taken over, in ns of the monotonic clock."""
        confirmed = self._directory.confirmed_at
        moment = None if confirmed is None else self._kept.view.current_at(confirmed)
        return None if moment is None else int(moment * 1e9)

    async def start(self) -> None:
        """See the protocol."""
        try:
            await self._directory.start()
            await self._kept.start(self._directory)
        except Refused as refusal:
            database = self._settings.database
            raise StoreError(f"the directory cannot be read: {refusal.detail}", hint=database) from refusal
        self._shelf.forget_unused()
        ops = Ops(self._metrics, lambda: self.ready)
        await self._listeners.serve(self._sockets[OPS].socket, ops, backlog=backlog_of(None))
        self._started = True
        for one in self._early:
            self._feed.attach(one)
        gc.collect()
        gc.freeze()

    async def stop(self) -> None:
        """See the protocol."""
        await self._listeners.close(1.0)
        await self._feed.close()
        await self._kept.close()
        await self._directory.close()

    def told(self, told: Told) -> None:
        """See the protocol: a link to a worker, or how all processes fare."""
        if told.descriptor is not None:
            link = socket.socket(fileno=told.descriptor)
            if self._started:
                self._feed.attach(link)
            else:
                # Before the CRLs are there, a worker would learn that there are none.
                self._early.append(link)
        elif "link" not in told.what:
            self._processes.take(told.what)

    def beat(self) -> dict[str, Any]:
        """See the protocol."""
        self._telemetry.confirm(self._directory.confirmed)
        return {"process": os.getpid()}

    @property
    def ready(self) -> bool:
        """Whether workers answer, the directory is confirmed, and the CRLs' sources were tried."""
        return self._processes.answering and self._directory.confirmed and self._kept.ready

    def _metrics(self) -> bytes:
        return gathered(*self._telemetry.watched, self._processes)


async def keep(settings: Settings, sockets: Sockets, control: socket.socket, images: dict[bytes, int]) -> int:
    """Keep the CRLs fresh until the supervisor ends it; the exit code."""
    child = Child(control)
    telemetry = Telemetry(log_decisions=False)
    return await child.live(lambda: Keeper(settings, sockets, telemetry, child, images))
