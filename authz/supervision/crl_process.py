"""The process that keeps the CRLs fresh for all workers; it answers the operators' listener, too."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from typing import Any

from authz.app.audit_checkpoints import log_checkpoints
from authz.app.config import Settings
from authz.app.crls import RefreshedCrls
from authz.app.directory_reports import DirectoryReports
from authz.app.listeners import HEALTH_PROBES, OPS, Sockets, tls_of
from authz.clock import SystemClock
from authz.crls.indexing.shared_images import SharedImages
from authz.crls.share.publisher import Publisher
from authz.directory import DirectoryReader
from authz.directory.databases import database_of
from authz.errors import Refused, StoreError
from authz.ports import Clock
from authz.supervision.child import Child
from authz.supervision.control import ControlMessage
from authz.supervision.metrics import ProcessMetrics, exposition
from authz.telemetry import DescriptorOutput, Telemetry
from authz.web.ops import KeptRendering, health_pages, operators_pages
from authz.web.ops_server import PAUSE_SECONDS, OpsServer


class CrlManager:
    """Implements `authz.supervision.child.ChildTask`. Made inside the event loop; `images` are its predecessor's."""

    def __init__(
        self, settings: Settings, sockets: Sockets, telemetry: Telemetry, child: Child, images: dict[bytes, int]
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._sockets = sockets
        clock = SystemClock()
        self._shelf = SharedImages(images, kept=child.keep, dropped=child.drop)
        self._crls = RefreshedCrls(settings, clock, telemetry, self._shelf.index)
        view = self._crls.view
        view.set_on_all_read(self._shelf.forget_unused)
        self._directory = DirectoryReader(settings.database, view, monotonic=clock.monotonic, warn=telemetry.warn)
        self._directory.failed_by = child.fail
        self._feed = Publisher(view, descriptor_of=self._shelf.descriptor, current=self._current, warn=telemetry.warn)
        self._processes = ProcessMetrics()
        self._reports = DirectoryReports(settings, clock, warn=telemetry.warn)
        telemetry.watch_directory(self._reports, view, lambda: self._processes.key_sets, clock)
        self._servers = self._operators_servers(clock)
        self._started = False
        self._early: list[socket.socket] = []
        self._checkpoints: asyncio.Task[None] | None = None

    def _operators_servers(self, clock: Clock) -> dict[str, OpsServer]:
        """The servers of the operators' listeners, by the names of their sockets. Raises `ConfigError`."""
        ops, warn = self._settings.ops, self._telemetry.warn
        pages = operators_pages(lambda: self.ready, KeptRendering(self._metrics, clock.monotonic))
        pause = 0.0 if ops.tls is None and not ops.unsafe_plaintext else PAUSE_SECONDS
        servers = {OPS: OpsServer(pages, warn, tls=tls_of(OPS, ops.tls, self._telemetry), pause=pause)}
        if ops.health_probe_address is not None:
            servers[HEALTH_PROBES] = OpsServer(health_pages(lambda: self.ready), warn)
        return servers

    def _current(self) -> int | None:
        """The moment up to which the directory's CRLs were taken over, in ns of the monotonic clock."""
        confirmed = self._directory.confirmed_at
        moment = None if confirmed is None else self._crls.view.current_at(confirmed)
        return None if moment is None else int(moment * 1e9)

    async def start(self) -> None:
        """See the protocol."""
        try:
            await self._directory.start()
            await self._crls.start(self._directory)
        except Refused as refusal:
            database = database_of(self._settings.database).name
            raise StoreError(f"the directory cannot be read: {refusal.detail}", hint=database) from refusal
        self._reports.start()
        for name, server in self._servers.items():
            server.start(self._sockets[name].socket)
        self._started = True
        self._checkpoints = asyncio.create_task(log_checkpoints(self._directory, self._telemetry.say), name="audit")
        for link in self._early:
            self._feed.attach(link)
        gc.collect()
        gc.freeze()

    async def stop(self) -> None:
        """See the protocol."""
        if self._checkpoints is not None:
            self._checkpoints.cancel()
        # Together: each waits for its own clients, and what comes meanwhile waits for the next process.
        await asyncio.gather(*(server.close() for server in self._servers.values()))
        await self._reports.close()
        await self._feed.close()
        await self._crls.close()
        await self._directory.close()

    def receive(self, message: ControlMessage) -> None:
        """See the protocol: a link to a worker, or the status of all processes."""
        if message.descriptor is not None:
            link = socket.socket(fileno=message.descriptor)
            if self._started:
                self._feed.attach(link)
            else:
                # Before the CRLs are loaded, a worker would learn that there are none.
                self._early.append(link)
        elif "link" not in message.content:
            self._processes.update(message.content)

    def heartbeat(self) -> dict[str, Any]:
        """See the protocol."""
        self._telemetry.confirm(self._directory.confirmed)
        self._telemetry.flush()
        return {"process": os.getpid()}

    @property
    def ready(self) -> bool:
        """Whether workers answer, the directory is confirmed, and the CRLs' sources were tried."""
        return self._processes.answering and self._directory.confirmed and self._crls.ready

    def _metrics(self) -> bytes:
        return exposition(*self._telemetry.watched, self._processes)


async def manage_crls(settings: Settings, sockets: Sockets, control: socket.socket, images: dict[bytes, int]) -> int:
    """Keep the CRLs fresh until the supervisor ends it; return the exit code."""
    child = Child(control)
    telemetry = Telemetry(DescriptorOutput(sys.stdout.fileno()), log_decisions=False)
    return await child.live(lambda: CrlManager(settings, sockets, telemetry, child, images))
