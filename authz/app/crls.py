"""Puts the keeping of CRLs together from its settings, for the service; and what it kept, for the command."""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from cryptography import x509

from authz.app.config import ModeSettings, Settings
from authz.app.listeners import gateway_anchors
from authz.crls.disk_store import CrlDiskStore, is_evidence
from authz.crls.fetch.address_rules import AddressRules, HostRules
from authz.crls.fetch.client import Fetcher, FetchLimits
from authz.crls.indexing.client import index_crl
from authz.crls.reader import Index, issuer_in
from authz.crls.refresher import Refresher
from authz.crls.rules import CrlRules, ModeRule, modes_of
from authz.crls.schedule import Schedule
from authz.crls.share.subscriber import Subscriber
from authz.directory import CrlStatusTables, DirectoryReader
from authz.directory.databases import database_of
from authz.errors import ConfigError, Refused
from authz.model import Organization
from authz.pki import Crl, CrlStore, LazyCrlStore, ModeOf, RevocationMode
from authz.pki.x509.distinguished_name import Name
from authz.ports import Clock, CrlView, Observer, Source
from authz.telemetry import Telemetry

JITTER = 0.2
"""The share of an interval over which fetches are spread."""


def folder_of(settings: Settings) -> Path:
    """Where the last good copies are kept. Raises `ConfigError`."""
    if settings.crl.folder is not None:
        return settings.crl.folder
    database = database_of(settings.database)
    if database.file is None:
        raise ConfigError("crl.folder is not set", hint="name a folder of this machine: the directory is no file on it")
    return database.file.with_suffix(".crls")


CRLS_OF_MEMORY = 4
"""Of `limits.worker_memory` the CRLs may take one part in so many: each worker holds them all."""


DESCRIPTORS_OF_LIMIT = 2
"""Of the descriptors that a process may have the CRLs may take one part in so many; the rest is connections'."""


def rules_of(settings: Settings) -> CrlRules:
    """What the settings say. Raises `ConfigError`."""
    crl, worker_memory = settings.crl, settings.limits.worker_memory << 20
    return CrlRules(
        files=crl.files,
        urls=crl.urls,
        points=crl.distribution_points,
        points_each=crl.distribution_points_each,
        first_fetch_wait=crl.first_fetch_wait_seconds,
        kept_octets=crl.kept_bytes,
        memory=worker_memory // CRLS_OF_MEMORY,
        descriptors=max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // DESCRIPTORS_OF_LIMIT),
        schedule=Schedule(crl.min_interval, crl.max_interval, crl.refresh_ahead, JITTER),
        mode=RevocationMode(crl.grace, crl.unsafe_soft_fail),
        exceptions=tuple(map(_exception, crl.exception)),
    )


def check_crls(settings: Settings) -> None:
    """Whether CRLs could be kept by these settings, also while a service keeps them. Raises `ConfigError`."""
    rules_of(settings)
    Fetcher(ca_file=settings.crl.ca_file)
    CrlDiskStore.check(folder_of(settings))


def _exception(settings: ModeSettings) -> ModeRule:
    issuer = None if settings.issuer is None else Name(x509.Name.from_rfc4514_string(settings.issuer))
    return ModeRule(RevocationMode(settings.grace, settings.unsafe_soft_fail), issuer, settings.organization)


def refresher_of(settings: Settings, clock: Clock, warn: Callable[[str], None], index: Index = index_crl) -> Refresher:
    """What keeps the CRLs fresh, to be started. Raises `ConfigError` for settings, or a folder, that cannot be used."""
    crl = settings.crl
    fetcher = Fetcher(
        addresses=AddressRules(crl.networks),
        hosts=HostRules(crl.hosts),
        limits=FetchLimits(total=crl.fetch_seconds, size=crl.max_bytes),
        ca_file=crl.ca_file,
    )
    return Refresher(
        rules_of(settings), CrlDiskStore(folder_of(settings)), fetcher, clock=clock, index=index, warn=warn
    )


class Crls(CrlView, Source, Observer, Protocol):
    """What a worker needs of the CRLs."""


class CrlProvider(Protocol):
    """The CRLs of one process, from its start to its end."""

    @property
    def view(self) -> Crls:
        """What checks look at, wait for, and report to."""
        ...

    @property
    def ready(self) -> bool:
        """Whether they can be relied on."""
        ...

    async def start(self, directory: DirectoryReader) -> None:
        """Have them. Raises `Refused` (directory_unavailable), `ConfigError`."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


class RefreshedCrls:
    """Implements `CrlProvider` by keeping them fresh in this process. Made inside the event loop.

    `index` makes CRLs of files, see `refresher_of`. Raises `ConfigError`.
    """

    def __init__(self, settings: Settings, clock: Clock, telemetry: Telemetry, index: Index = index_crl) -> None:
        self.view = refresher_of(settings, clock, telemetry.warn, index)
        self._ledger = CrlStatusTables(settings.database, warn=telemetry.warn)
        proxies = [proxy for listener in settings.listener for proxy in listener.trusted_proxies]
        self._gateways = [anchor.der for proxy in proxies for anchor in gateway_anchors(proxy)]
        telemetry.watch(self.view, clock)

    @property
    def ready(self) -> bool:
        """See the protocol: each source that the operator named was tried once, or has had its time."""
        return self.view.ready

    async def start(self, directory: DirectoryReader) -> None:
        """See the protocol."""
        await self.view.start(_WithGateways(directory, self._gateways), self._ledger)

    async def close(self) -> None:
        """See the protocol."""
        await self.view.close()
        await self._ledger.close()


class _WithGateways:
    """The directory, and beside its CAs those of the operator's gateways: their CRLs are kept, too."""

    def __init__(self, directory: DirectoryReader, gateways: list[bytes]) -> None:
        self._gateways = gateways
        self.listed, self.der, self.active = directory.listed, directory.der, directory.active
        self._directory = directory

    @property
    def revision(self) -> Hashable:
        """Another one after each change of an organization or its CAs: a change of a user reads none of them."""
        return self._directory.tenants_revision

    async def authorities(self) -> list[bytes]:
        """All of them, in DER. Raises `Refused` (directory_unavailable)."""
        return [*await self._directory.authorities(), *self._gateways]


class SubscribedCrls:
    """Implements `CrlProvider` by following the process that keeps them. Made inside the event loop."""

    def __init__(self, settings: Settings, clock: Clock, telemetry: Telemetry) -> None:
        self.view = Subscriber(rules_of(settings), monotonic=clock.monotonic, warn=telemetry.warn)

    @property
    def ready(self) -> bool:
        """See the protocol: they were confirmed within the last 2 seconds."""
        return self.view.current

    async def start(self, directory: DirectoryReader) -> None:  # noqa: ARG002 - the CRL process reads it
        """See the protocol."""
        await self.view.started()

    async def close(self) -> None:
        """See the protocol."""
        await self.view.close()


class CrlSnapshot:
    """Implements `authz.ports.CrlView` for the command: CRLs as they are held now, and nothing is asked for.

    Those of `directory` and the copies that the service kept are read when their issuer is asked for.
    """

    def __init__(self, settings: Settings, directory: CrlStore) -> None:
        self._rules = rules_of(settings)
        kept: dict[Name | None, list[Path]] = defaultdict(list)
        for path in sorted(folder_of(settings).glob("*.crl")):
            kept[issuer_in(path)].append(path)

        def read(issuer: Name) -> list[Crl]:
            return [*(directory.under(issuer) or ()), *_read(kept[issuer])]

        unnamed = _read(kept.pop(None, []))
        self._store = LazyCrlStore({*directory.issuers, *(name for name in kept if name is not None)}, read, unnamed)

    def crls(self) -> CrlStore:
        """See the protocol."""
        return self._store

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See the protocol; that a source was refused is known to the service alone."""
        return modes_of(self._rules, (), organization)

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See the protocol: the service asks, the command does not."""

    def directory_read(self, revision: Hashable) -> None:
        """See the protocol."""


def _read(paths: Iterable[Path]) -> Iterator[Crl]:
    """A copy that cannot be read is as good as none; the service sets it aside. Raises `ConfigError`."""
    for path in paths:
        try:
            crl = Crl(path.read_bytes())
        except Refused:
            continue
        except OSError as error:
            raise ConfigError(
                f"the CRLs kept by the service cannot be read: {error.strerror}", hint="use the account of the service"
            ) from error
        crl.mark_expired(when_it_came=is_evidence(path.stem))
        yield crl
