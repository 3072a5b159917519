"""The running service's side of the directory: a view of one confirmed revision, loaded row by row.

One connection, held for as long as it works, reads everything: the state every 200 ms, and rows when a
check misses them. Each read transaction begins with the state, so that a row is never older than the
revision it is tagged with. A connection that fails is thrown away and made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from authz.directory import rows
from authz.directory.cache import MISSING, RowCache
from authz.directory.engine import database_file, open_reader
from authz.directory.schema import anchors, crls, directory_state, intermediates, organizations, users
from authz.errors import NotLoaded, Refused
from authz.headers import HeaderMemo
from authz.model import Organization, Registration, User
from authz.pki import Certificate, Crl, CrlStore, Memo, TrustStore
from authz.reasons import Reason

POLL_SECONDS = 0.2
"""How often the state is read: a change holds within this and the time of one read, below the 1 s published."""

CONFIRMED_SECONDS = 2.0
"""How old the last confirmation of the revision may be before checks are answered 503."""

MAX_MEMOS = 1_000
"""Organizations whose memos are kept at a time; the one made first goes first."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """The organization that has a host."""

    host: str


@dataclass(frozen=True, slots=True)
class UserKey:
    """A user by organization and name."""

    organization: int
    name: str


@dataclass(frozen=True, slots=True)
class RegistrationsKey:
    """The registrations of a leaf in an organization."""

    organization: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class TrustKey:
    """An organization's anchors and intermediates."""

    organization: int


@dataclass(frozen=True, slots=True)
class CrlsKey:
    """All CRLs."""


Key = HostKey | UserKey | RegistrationsKey | TrustKey | CrlsKey


@dataclass(slots=True)
class _State:
    """The revisions last read; `owners` holds those of organizations as far as rows of theirs were read."""

    revision: int = -1
    organizations: int = -1
    trust: int = -1
    crls: int = -1


class DirectoryReader:
    """Implements `authz.ports.Directory` and, being its own view, `authz.view.View`.

    A view and the reader can be one, because a check looks without waiting: nothing changes under it.
    `monotonic` gives seconds; `warn` is told of rows that cannot be used.
    """

    def __init__(self, url: str, *, monotonic: Callable[[], float], warn: Callable[[str], None]) -> None:
        self._url = url
        self._path = database_file(url)
        self._monotonic = monotonic
        self._warn = warn
        self._engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None
        self._inode: tuple[int, int] | None = None
        self._lock = asyncio.Lock()
        self._state = _State()
        self._owners: dict[int, tuple[int, int]] = {}
        self._cache = RowCache()
        self._memos: dict[int, tuple[Memo, HeaderMemo]] = {}
        self._crl_store: tuple[int, CrlStore] | None = None
        self._flights: dict[Key, asyncio.Task[None]] = {}
        self._confirmed: float | None = None
        self._poller: asyncio.Task[None] | None = None

    # -- life ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the state once and go on reading it. Raises `Refused` (directory_unavailable) if that fails."""
        await self._read(self._load_crls)
        self._poller = asyncio.create_task(self._poll(), name="directory poller")

    async def close(self) -> None:
        """Stop reading."""
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
        await self._disconnect()

    @property
    def confirmed(self) -> bool:
        """Whether the revision was confirmed within the last 2 seconds."""
        return self._confirmed is not None and self._monotonic() - self._confirmed <= CONFIRMED_SECONDS

    @property
    def revision(self) -> int:
        """The revision known now."""
        return self._state.revision

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with contextlib.suppress(Refused):
                await self._read(self._nothing)

    # -- the view ------------------------------------------------------------------------------------

    def view(self) -> DirectoryReader:
        """A view of the revision known now; see `authz.ports.Directory`."""
        if not self.confirmed:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE, "the directory's revision was not confirmed for 2 s")
        return self

    def organization(self, host: str) -> Organization | None:
        """See `authz.view.View`."""
        found = self._cache.get("hosts", host, self._state.organizations)
        if found is MISSING:
            raise NotLoaded(HostKey(host))
        return found  # type: ignore[return-value]

    def user(self, organization: Organization, name: str) -> User | None:
        """See `authz.view.View`."""
        key = UserKey(organization.id, name)
        return self._row(organization.id, key)  # type: ignore[return-value]

    def registrations(self, organization: Organization, sha256: bytes) -> tuple[Registration, ...]:
        """See `authz.view.View`."""
        key = RegistrationsKey(organization.id, sha256)
        return self._row(organization.id, key)  # type: ignore[return-value]

    def _row(self, owner: int, key: Key) -> object:
        known = self._owners.get(owner)
        found = MISSING if known is None else self._cache.get(owner, key, known[0])
        if found is MISSING:
            raise NotLoaded(key)
        return found

    def trust(self, organization: Organization) -> TrustStore:
        """See `authz.view.View`."""
        key = TrustKey(organization.id)
        known = self._owners.get(organization.id)
        tag = -1 if known is None else max(known[1], self._state.trust)
        found = self._cache.get("trust", key, tag)
        if found is MISSING:
            raise NotLoaded(key)
        if isinstance(found, Refused):
            raise Refused(found.reason, found.detail, certificate=found.certificate)
        return found  # type: ignore[return-value]

    def crls(self, organization: Organization) -> CrlStore:  # noqa: ARG002 - a CRL speaks for a key, so tenants never meet
        """See `authz.view.View`."""
        if self._crl_store is None or self._crl_store[0] != self._state.crls:
            raise NotLoaded(CrlsKey())
        return self._crl_store[1]

    def decoded(self, organization: Organization) -> HeaderMemo:
        """See `authz.view.View`."""
        return self._memo(organization.id)[1]

    def _memo(self, owner: int) -> tuple[Memo, HeaderMemo]:
        found = self._memos.get(owner)
        if found is None:
            found = self._memos[owner] = (Memo(), HeaderMemo())
            if len(self._memos) > MAX_MEMOS:
                del self._memos[next(iter(self._memos))]
        return found

    # -- loading -------------------------------------------------------------------------------------

    async def load(self, key: Hashable) -> bool:
        """See `authz.ports.Source`; checks that wait for one row share its reading."""
        if not isinstance(key, Key):
            return False
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._fly(key))
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        # A check that gives up must not take the others' reading with it.
        await asyncio.shield(flight)
        return True

    async def _fly(self, key: Key) -> None:
        await self._read(lambda connection: self._load(connection, key))

    async def _load(self, connection: AsyncConnection, key: Key) -> None:
        match key:
            case HostKey():
                await self._load_host(connection, key)
            case TrustKey():
                await self._load_trust(connection, key)
            case CrlsKey():
                await self._load_crls(connection)
            case UserKey():
                wanted = (users.c.organization_id == key.organization) & (users.c.name == key.name)
                row = (await connection.execute(sa.select(users).where(wanted))).first()
                await self._keep(connection, key, None if row is None else rows.user(row))
            case RegistrationsKey():
                found = await connection.execute(rows.registrations_of(key.organization, key.sha256))
                await self._keep(connection, key, tuple(map(rows.registration, found)))

    async def _keep(self, connection: AsyncConnection, key: UserKey | RegistrationsKey, value: object) -> None:
        known = await self._owner(connection, key.organization)
        self._cache.put(key.organization, key, known[0], value)

    async def _owner(self, connection: AsyncConnection, owner: int) -> tuple[int, int]:
        """The organization's revisions, as this transaction sees them."""
        query = sa.select(organizations.c.revision, organizations.c.trust_revision).where(organizations.c.id == owner)
        row = (await connection.execute(query)).first()
        known = (-1, -1) if row is None else (row.revision, row.trust_revision)
        self._owners[owner] = known
        return known

    async def _load_host(self, connection: AsyncConnection, key: HostKey) -> None:
        row = (await connection.execute(rows.organization_by_host(key.host))).first()
        value = None
        if row is not None:
            value = rows.organization(row, list(await connection.execute(rows.host_query(row.id))))
        self._cache.put("hosts", key.host, self._state.organizations, value)

    async def _load_trust(self, connection: AsyncConnection, key: TrustKey) -> None:
        """An anchor that cannot be read denies its organization, and nobody else."""
        ders = []
        for table in (anchors, intermediates):
            mine = (table.c.organization_id == key.organization) | table.c.organization_id.is_(None)
            found = await connection.execute(sa.select(table.c.der).where(mine).order_by(table.c.id))
            ders.append([row.der for row in found])
        known = await self._owner(connection, key.organization)
        try:
            parsed = [[Certificate.parse(der) for der in each] for each in ders]
            value: TrustStore | Refused = TrustStore(parsed[0], parsed[1], self._memo(key.organization)[0])
        except Refused as refusal:
            unusable = refusal.reason is not Reason.TRUST_ANCHORS_MISSING
            reason = Reason.TRUST_ANCHORS_UNUSABLE if unusable else refusal.reason
            value = Refused(reason, refusal.detail, certificate=refusal.certificate)
            self._warn(f"organization {key.organization}: {value}")
        self._cache.put("trust", key, max(known[1], self._state.trust), value)

    async def _load_crls(self, connection: AsyncConnection) -> None:
        """Read the CRLs that are new; those held already are not parsed again."""
        tag = self._state.crls
        if self._crl_store is not None and self._crl_store[0] == tag:
            return
        held = {} if self._crl_store is None else {one.sha256: one for one in self._crl_store[1]}
        store: list[Crl] = []
        signers: dict[bytes, bytes] = {}
        for row in await connection.execute(sa.select(crls.c.sha256, crls.c.signer)):
            signers[row.sha256] = row.signer
            known = held.get(row.sha256)
            if known is not None:
                store.append(known)
                continue
            data = (await connection.execute(sa.select(crls.c.der).where(crls.c.sha256 == row.sha256))).scalar_one()
            try:
                store.append(await asyncio.to_thread(Crl, data))
            except Refused as refusal:
                self._warn(f"CRL {row.sha256.hex()} is left out: {refusal}")
        self._crl_store = (tag, CrlStore(store, signers))

    # -- the connection ------------------------------------------------------------------------------

    async def _read(self, action: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Run `action` in one read transaction, after the state. Raises `Refused` (directory_unavailable)."""
        async with self._lock:
            try:
                connection = await self._connect()
                async with connection.begin():
                    started = self._monotonic()
                    await self._read_state(connection)
                    await action(connection)
                self._confirmed = started
            except (sa.exc.SQLAlchemyError, OSError, ValueError) as error:
                await self._disconnect()
                raise Refused(Reason.DIRECTORY_UNAVAILABLE, type(error).__name__) from error

    async def _nothing(self, connection: AsyncConnection) -> None:
        """The poll reads the state and nothing else, but for CRLs that are new."""
        await self._load_crls(connection)

    async def _read_state(self, connection: AsyncConnection) -> None:
        row = (await connection.execute(sa.select(directory_state))).one()
        if row.revision == self._state.revision:
            return
        if row.revision < self._state.revision:
            # Another database, or an old copy of this one: its numbers mean something else.
            self._forget()
        else:
            await self._changed(connection, self._state.revision)
        self._state = _State(row.revision, row.organizations_revision, row.trust_revision, row.crls_revision)

    async def _changed(self, connection: AsyncConnection, since: int) -> None:
        newest = sa.func.max(organizations.c.revision, organizations.c.trust_revision)
        query = sa.select(organizations.c.id, organizations.c.revision, organizations.c.trust_revision)
        for row in await connection.execute(query.where(newest > since)):
            if row.id in self._owners:
                self._owners[row.id] = (row.revision, row.trust_revision)

    def _forget(self) -> None:
        self._cache.clear()
        self._owners.clear()
        self._crl_store = None
        self._state = _State()

    async def _connect(self) -> AsyncConnection:
        status = os.stat(self._path)  # noqa: PTH116 - one system call, five times a second
        inode = (status.st_dev, status.st_ino)
        if self._connection is not None and inode == self._inode:
            return self._connection
        await self._disconnect()
        if self._inode is not None and inode != self._inode:
            self._warn("the directory's file was replaced; everything is read again")
            self._forget()
        self._engine = open_reader(self._url)
        self._connection = await self._engine.connect()
        self._inode = inode
        return self._connection

    async def _disconnect(self) -> None:
        connection, engine = self._connection, self._engine
        self._connection = self._engine = None
        with contextlib.suppress(sa.exc.SQLAlchemyError, OSError, ValueError):
            if connection is not None:
                await connection.close()
            if engine is not None:
                await engine.dispose()
