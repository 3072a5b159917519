"""One process that answers checks, put together from its settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from authz.app.config import Settings
from authz.app.crls import CrlProvider
from authz.app.listeners import Sockets, listener_of, tls_of
from authz.clock import SystemClock
from authz.directory import DirectoryReader, History, HistoryLimits, LastSeen
from authz.directory.cache import tenants_memory
from authz.directory.databases import database_of
from authz.errors import Refused, StoreError
from authz.identity.keys import JwksCache
from authz.pki.cache import SharedCache
from authz.ports import Observer
from authz.service import Service, ServiceLimits
from authz.telemetry import Telemetry
from authz.web.checks import Checks, Endpoints
from authz.web.listeners import Listeners
from authz.web.sockets import begin


class WorkerApp:
    """The directory's reader, the service, and its listeners, on `sockets` that the supervisor opened.

    `failed_by` is called with an error after which it cannot go on. `start` raises `ConfigError` or `StoreError` when
    a setting or the directory cannot be used; then nothing is left open.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry, sockets: Sockets, crls: CrlProvider) -> None:
        self._settings = settings
        self.telemetry = telemetry
        self._clock = SystemClock()
        self._sockets = sockets
        self._crls = crls
        self.keys = JwksCache(monotonic=self._clock.monotonic, warn=telemetry.warn)
        self._directory: DirectoryReader | None = None
        self._written: list[History | LastSeen] = []
        self._listeners = Listeners()
        self._stopping = False
        self.failed_by: Callable[[BaseException], None] = lambda _: None

    async def start(self) -> None:
        """Read the directory, then listen."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings, crls, warn = self._settings, self._crls, self.telemetry.warn
        memory = tenants_memory(settings.limits.cache_bytes)
        directory = DirectoryReader(
            settings.database, crls.view, monotonic=self._clock.monotonic, warn=warn, memory=memory
        )
        self._directory = directory
        directory.failed_by = self.failed_by
        try:
            await directory.start()
            await crls.start(directory)
        except Refused as refusal:
            database = database_of(settings.database).name
            raise StoreError(f"the directory cannot be read: {refusal.detail}", hint=database) from refusal
        limits = ServiceLimits(settings.limits.concurrent_checks, seconds=settings.limits.check_seconds)
        self._keep()
        self.telemetry.write_in_batches(asyncio.get_running_loop().call_later, memory)
        observers: tuple[Observer, ...] = (self.telemetry, crls.view, *self._written)
        service = Service(directory, self._clock, *observers, sources=(self.keys, crls.view), limits=limits)
        await self._listen(service, memory)

    def _keep(self) -> None:
        """Begin to write what is kept of decisions, unless the settings say that nothing is."""
        settings, telemetry, database = self._settings.history, self.telemetry, self._settings.database
        if not settings.rows:
            return
        limits = HistoryLimits(settings.rows, settings.days, settings.allowed)
        history = History(database, self._clock, limits, lost=telemetry.lost, warn=telemetry.warn)
        self._written = [history, LastSeen(database, self._clock, lost=telemetry.lost, warn=telemetry.warn)]
        for written in self._written:
            written.start()

    async def _listen(self, service: Service, memory: SharedCache) -> None:
        for settings in self._settings.listener:
            endpoints = Endpoints(settings.prefix, settings.fixed_path, settings.auth_request_path)
            listener = listener_of(settings, self.keys, memory)
            handler = Checks(
                service.check,
                listener,
                endpoints,
                refuse=service.refuse,
                check_at_once=service.check_at_once,
                memory=memory,
            )
            tls = tls_of(settings.name, settings.tls, self.telemetry)
            opened, backlog = self._sockets[settings.name], settings.backlog
            begin(opened.socket, opened.shown, backlog)
            await self._listeners.serve(
                opened.socket, handler, handler.unread, backlog=backlog, tls=tls, at_once=handler.at_once
            )

    @property
    def ready(self) -> bool:
        """Whether the directory is confirmed, the CRLs are ready, and the service is not stopping."""
        return not self._stopping and self._directory is not None and self._directory.confirmed and self._crls.ready

    async def stop(self) -> None:
        """Stop accepting, let checks in flight finish within the bound, then release everything; once."""
        if self._stopping:
            return
        self._stopping = True
        # When all workers end, no process may be left listening, so that connections fail at once.
        self._sockets.forget()
        self.telemetry.flush()
        await self._listeners.close(self._settings.limits.stop_seconds)
        self.telemetry.flush()
        # At once: each may wait for a database server that does not answer.
        await asyncio.gather(*(written.close() for written in self._written))
        await self._crls.close()
        if self._directory is not None:
            await self._directory.close()
