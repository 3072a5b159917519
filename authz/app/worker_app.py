"""One process that answers checks: put together from its settings, with CRLs of its own or another process's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from authz.app.config import Settings
from authz.app.crls import CrlProvider, RefreshedCrls
from authz.app.listeners import OPS, Sockets, backlog_of, listener_of, tls_of, warn_of_weakness
from authz.clock import SystemClock
from authz.directory import DirectoryReader, History, HistoryLimits
from authz.directory.cache import tenants_memory
from authz.directory.sqlite.migrate import migrate
from authz.errors import Refused, StoreError
from authz.identity import JwksCache
from authz.pki.cache import SharedCache
from authz.ports import Observer
from authz.service import Service, ServiceLimits
from authz.telemetry import Telemetry
from authz.web.checks import Checks, Endpoints
from authz.web.listeners import Listeners
from authz.web.ops import Ops


class WorkerApp:
    """The directory's reader, the service, and its listeners.

    Alone it opens its sockets, keeps CRLs fresh and answers operators. One of several workers is given `sockets`
    and `crls` that other processes keep, and answers checks only.

    `failed_by` is called with an error after which it cannot go on. `start` raises `ConfigError` or `StoreError` when
    a setting or the directory cannot be used; then nothing is left open.
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: Telemetry | None = None,
        *,
        sockets: Sockets | None = None,
        crls: CrlProvider | None = None,
    ) -> None:
        self._settings = settings
        self.telemetry = telemetry or Telemetry(log_decisions=settings.log.decisions)
        self._clock = SystemClock()
        self._alone = sockets is None
        self._sockets = sockets or Sockets({})
        self._keeping = crls
        self._directory: DirectoryReader | None = None
        self._history: History | None = None
        self._listeners = Listeners()
        self._stopping = False
        self.failed_by: Callable[[BaseException], None] = lambda _: None

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each listener."""
        return {name: opened.shown for name, opened in self._sockets.items()}

    async def start(self) -> None:
        """Read the directory, then listen."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings, warn = self._settings, self.telemetry.warn
        if self._alone:
            self._sockets = Sockets.open(settings)
            await asyncio.to_thread(migrate, settings.database)
        if self._keeping is None:
            self._keeping = RefreshedCrls(settings, self._clock, self.telemetry)
        keeping = self._keeping
        memory = tenants_memory(settings.limits.cache_bytes)
        directory = DirectoryReader(
            settings.database, keeping.view, monotonic=self._clock.monotonic, warn=warn, memory=memory
        )
        self._directory = directory
        directory.failed_by = self.failed_by
        try:
            await directory.start()
            await keeping.start(directory)
        except Refused as refusal:
            raise StoreError(f"the directory cannot be read: {refusal.detail}", hint=settings.database) from refusal
        limits = ServiceLimits(settings.limits.concurrent_checks, seconds=settings.limits.check_seconds)
        keys = JwksCache(monotonic=self._clock.monotonic, warn=warn)
        observers: tuple[Observer, ...] = (self.telemetry, keeping.view, *self._keep_history())
        service = Service(directory, self._clock, *observers, sources=(keys, keeping.view), limits=limits)
        await self._listen(service, keys, memory)

    def _keep_history(self) -> tuple[History, ...]:
        settings = self._settings.history
        if not settings.rows:
            return ()
        limits = HistoryLimits(settings.rows, settings.days)
        telemetry = self.telemetry
        history = History(self._settings.database, self._clock, limits, lost=telemetry.lost, warn=telemetry.warn)
        history.start()
        self._history = history
        return (history,)

    async def _listen(self, service: Service, keys: JwksCache, memory: SharedCache) -> None:
        for settings in self._settings.listener:
            endpoints = Endpoints(settings.prefix, settings.fixed_path, settings.auth_request_path)
            listener = listener_of(settings, keys, memory)
            handler = Checks(service.check, listener, endpoints, refuse=service.refuse)
            tls = tls_of(settings.name, settings.tls, self.telemetry)
            opened = self._sockets[settings.name].socket
            await self._listeners.serve(opened, handler, handler.unread, backlog=backlog_of(settings), tls=tls)
        if self._alone:
            ops = Ops(self._metrics, lambda: self.ready, self.telemetry.warn)
            await self._listeners.serve(self._sockets[OPS].socket, ops, ops.unread, backlog=backlog_of(None))
            warn_of_weakness(self._settings, self.telemetry.warn)
            for name, address in self.addresses.items():
                self.telemetry.say("listening", listener=name, address=address)

    def _metrics(self) -> bytes:
        self.telemetry.confirm(self.ready)
        return self.telemetry.metrics()

    @property
    def ready(self) -> bool:
        """Whether the directory is confirmed, the CRLs are ready, and the service is not stopping."""
        if self._stopping or self._directory is None or self._keeping is None:
            return False
        return self._directory.confirmed and self._keeping.ready

    async def stop(self) -> None:
        """Stop accepting, let checks in flight finish within the bound, then release everything; once."""
        if self._stopping:
            return
        self._stopping = True
        if not self._alone:
            # When all workers end, no process may be left listening, so that connections fail at once.
            self._sockets.forget()
        await self._listeners.close(self._settings.limits.stop_seconds)
        if self._alone:
            self._sockets.close()
        if self._history is not None:
            await self._history.close()
        if self._keeping is not None:
            await self._keeping.close()
        if self._directory is not None:
            await self._directory.close()
