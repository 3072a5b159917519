"""Puts the service together from its settings, and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
from functools import partial

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from authz.clock import SystemClock
from authz.config import (
    HopSettings,
    IdentitySettings,
    ListenerSettings,
    PayloadSettings,
    Settings,
    TlsSettings,
    UserNameSettings,
)
from authz.crl_keeping import refresher_of
from authz.crl_source import Refresher
from authz.directory import CrlLedger, DirectoryReader, History, HistoryLimits
from authz.directory.migrate import migrate
from authz.errors import ConfigError, Refused, StoreError
from authz.identity import BearerToken, KeyRing, PayloadHeader, UserNameHeader
from authz.model import HeaderRules
from authz.pki import Certificate, TrustStore
from authz.ports import Observer
from authz.service import Limits, Service
from authz.systemd import inherited, notify
from authz.telemetry import Telemetry
from authz.view import Door, Hop, IdentitySource
from authz.web.checks import Checks, Endpoints
from authz.web.ops import Ops
from authz.web.server import Handler, Server
from authz.web.sockets import BACKLOG, listen, remove, socket_inode
from authz.web.tls import HANDSHAKE_SECONDS, ReloadingContext, TlsFiles


class Runtime:
    """A running service: the directory's reader, the service, and its listeners.

    `start` raises `ConfigError` or `StoreError` when a setting or the directory cannot be used; then
    nothing is left open.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry | None = None) -> None:
        self._settings = settings
        self.telemetry = telemetry or Telemetry(log_decisions=settings.log.decisions)
        self._clock = SystemClock()
        self._directory: DirectoryReader | None = None
        self._crls: Refresher | None = None
        self._ledger: CrlLedger | None = None
        self._history: History | None = None
        self._servers: list[tuple[asyncio.Server, Server]] = []
        self._inodes: list[tuple[str, int | None]] = []
        self._stopping = False
        self._inherited: dict[str, socket.socket] = {}
        self.addresses: dict[str, str] = {}

    async def start(self) -> None:
        """Read the directory, then listen."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self._settings
        self._inherited = self._handed_over()
        await asyncio.to_thread(migrate, settings.database)
        warn = self.telemetry.warn
        self._crls = crls = refresher_of(settings, self._clock, warn)
        self._ledger = CrlLedger(settings.database, warn=warn)
        directory = DirectoryReader(settings.database, crls, monotonic=self._clock.monotonic, warn=warn)
        self._directory = directory
        try:
            await directory.start()
            await crls.start(directory, self._ledger)
        except Refused as refusal:
            raise StoreError(f"the directory cannot be read: {refusal.detail}", hint=settings.database) from refusal
        limits = Limits(settings.limits.concurrent_checks, seconds=settings.limits.check_seconds)
        keys = KeyRing(monotonic=self._clock.monotonic, warn=warn)
        self.telemetry.watch(crls, self._clock)
        observers: tuple[Observer, ...] = (self.telemetry, crls, *self._keep_history())
        service = Service(directory, self._clock, *observers, sources=(keys, crls), limits=limits)
        await self._listen("ops", settings.ops.address, Ops(self.telemetry, lambda: self.ready))
        for one in settings.listener:
            endpoints = Endpoints(one.prefix, one.fixed_path, one.auth_request_path)
            handler = Checks(service.check, door_of(one, keys), endpoints, rejected=self.telemetry.rejected)
            await self._listen(one.name, one.address, handler, one)

    def _handed_over(self) -> dict[str, socket.socket]:
        """The listeners' sockets that a service manager made. Raises `ConfigError` for one that fits no listener."""
        handed = inherited()
        paths = {one.name: one.address for one in self._settings.listener}
        for name, one in handed.items():
            if paths.get(name) != f"unix:{one.getsockname()}":
                raise ConfigError(
                    f"the socket handed over as {name} is no listener's",
                    hint="FileDescriptorName= is the listener's name, ListenStream= its address",
                )
        return handed

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

    async def _listen(
        self, name: str, address: str, handler: Handler, listener: ListenerSettings | None = None
    ) -> None:
        tls = None if listener is None or listener.tls is None else self._tls(name, listener.tls)
        handed = self._inherited.pop(name, None) if listener is not None else None
        if handed is not None:
            opened = handed
        elif listener is None:
            opened = listen(address)
        else:
            opened = listen(
                address,
                mode=listener.socket_mode,
                group=listener.socket_group,
                backlog=listener.backlog,
                anywhere=tls is not None or listener.unsafe_plaintext,
            )
            self._warn_of_plaintext(listener)
        unix = opened.family == socket.AF_UNIX
        if handed is None:
            self._inodes.append((address, socket_inode(address)))
        loop = asyncio.get_running_loop()
        server = Server(handler, self.telemetry)
        # Event loops listen once more, and would make it 100.
        backlog = BACKLOG if listener is None else listener.backlog
        if unix:
            listening = await loop.create_unix_server(server, sock=opened, backlog=backlog)
        else:
            patience = None if tls is None else HANDSHAKE_SECONDS
            listening = await loop.create_server(
                server, sock=opened, backlog=backlog, ssl=tls, ssl_handshake_timeout=patience
            )
        self._servers.append((listening, server))
        self.addresses[name] = address if unix else "{}:{}".format(*opened.getsockname()[:2])
        self.telemetry.say("listening", door=name, address=self.addresses[name])

    def _tls(self, door: str, settings: TlsSettings) -> ReloadingContext:
        files = TlsFiles(settings.certificate, settings.key, settings.client_ca)
        refused = partial(self.telemetry.proxy_refused, door)
        return ReloadingContext(files, frozenset(settings.names), refused=refused, warn=self.telemetry.warn)

    def _warn_of_plaintext(self, listener: ListenerSettings) -> None:
        if listener.unsafe_plaintext:
            self.telemetry.warn(
                f"unsafe_plaintext: whoever can connect to {listener.address} can claim any certificate of any user"
            )

    @property
    def ready(self) -> bool:
        """Whether the directory is confirmed, the CRLs' sources were tried, and the service is not stopping."""
        if self._stopping or self._directory is None or self._crls is None:
            return False
        return self._directory.confirmed and self._crls.ready

    async def stop(self) -> None:
        """Stop accepting, let checks in flight finish within the bound, then give everything back."""
        self._stopping = True
        for listening, server in self._servers:
            listening.close()
            server.pre_shutdown()
        for _, server in self._servers:
            await server.shutdown(self._settings.limits.stop_seconds)
        for address, inode in self._inodes:
            remove(address, inode)
        if self._history is not None:
            await self._history.close()
        if self._crls is not None:
            await self._crls.close()
        if self._ledger is not None:
            self._ledger.close()
        if self._directory is not None:
            await self._directory.close()


def door_of(settings: ListenerSettings, keys: KeyRing | None = None) -> Door:
    """The listener as the core sees it; without `keys` it has no identity source.

    Raises `ConfigError` for gateways' anchors that cannot be read.
    """
    header = HeaderRules(
        certificate_header=settings.certificate.header,
        form=settings.certificate.form,
        chain_header=settings.certificate.chain_header,
        statement_header=settings.statement.header,
        statement=settings.statement.form,
    )
    organizations = None if settings.organizations is None else frozenset(settings.organizations)
    hops = tuple(map(_hop, settings.hops))
    identity = () if keys is None else tuple(_source(one, keys) for one in settings.identity)
    return Door(settings.name, identity, header, hops, organizations)


def _hop(settings: HopSettings) -> Hop:
    try:
        found = x509.load_pem_x509_certificates(settings.anchors.read_bytes())
        anchors = [Certificate.parse(one.public_bytes(Encoding.DER)) for one in found]
        return Hop(TrustStore(anchors), frozenset(settings.names))
    except (OSError, ValueError, Refused) as error:
        raise ConfigError(f"the gateways' anchors in {settings.anchors} cannot be read: {error}") from error


def _source(settings: IdentitySettings, keys: KeyRing) -> IdentitySource:
    if isinstance(settings, UserNameSettings):
        return UserNameHeader(settings.header, settings.organization_header)
    if isinstance(settings, PayloadSettings):
        return PayloadHeader(settings.header)
    return BearerToken(keys)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises what `Runtime.start` raises."""
    runtime = Runtime(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await runtime.start()
    # What start-up made lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    runtime.telemetry.say("ready", process=os.getpid())
    notify("READY=1")
    await stop.wait()
    notify("STOPPING=1")
    runtime.telemetry.say("stopping")
    await runtime.stop()


def serve(settings: Settings) -> None:
    """Run the service on uvloop until it is told to stop. Raises `ConfigError` or `StoreError`."""
    _raise_open_files()
    uvloop.run(run(settings))


def _raise_open_files() -> None:
    """As many descriptors as the operator allows (`LimitNOFILE=`): the usual soft limit, 1024, is too few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
