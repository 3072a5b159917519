"""The running service's side of the directory: a view of one confirmed revision, loaded row by row.

A session in a thread of its own reads everything: the state every 200 ms, and rows when checks miss
them, many in one transaction and in turns by organization, so that one tenant's flood of unknown names
delays no other by more than a few transactions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Hashable
from typing import Final

from authz.directory.audit import Checkpoint
from authz.directory.cache import MISSING, RowCache
from authz.directory.interrupted import interrupted_after
from authz.directory.keys import HostKey, RegistrationsKey, RenewalsKey, RowKey, TrustKey, UserKey
from authz.directory.row_log import State
from authz.directory.row_queries import Trust
from authz.directory.session import Reading, Session
from authz.directory.waiting_rows import WaitingRows
from authz.directory.working_thread import WorkingThread
from authz.errors import NotLoaded, Refused
from authz.headers import DecodeCache
from authz.model import CrlRow, LeafKeys, Organization, Registration, User
from authz.pki import CrlStore, ModeOf, TrustStore, VerifiedCache
from authz.pki.cache import SharedCache
from authz.ports import CrlView
from authz.reasons import Reason

POLL_SECONDS: Final = 0.2
"""How often the state is read: a change holds within this and the time of one read, below the 1 s published."""

CONFIRMED_SECONDS: Final = 2.0
"""How old the last confirmation of the revision may be before checks are answered 503."""

READ_SECONDS: Final = CONFIRMED_SECONDS
"""How long one reading may take: what is read later confirms nothing. Then another connection is made, perhaps to
another server.
"""


class DirectoryReader:
    """Implements `authz.ports.Directory` and, being its own view, `authz.view.View`.

    A view and the reader can be one, because a check looks without waiting: nothing changes under it.
    `crls` is asked for everything about CRLs. `monotonic` gives seconds; `warn` is called about rows that cannot be
    used, `failed_by` when nothing is read any more. `memory` holds rows, and what checks remember.
    """

    def __init__(
        self,
        url: str,
        crls: CrlView,
        *,
        monotonic: Callable[[], float],
        warn: Callable[[str], None],
        memory: SharedCache | None = None,
    ) -> None:
        self._session = Session(url)
        self._thread = WorkingThread("directory")
        self._monotonic = monotonic
        self._warn = warn
        self._state = State()
        self._line = 0
        self._memory = SharedCache() if memory is None else memory
        self._cache = RowCache(self._memory)
        self._crls = crls
        self._waiting = WaitingRows()
        self._confirmed: float | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._reading = asyncio.Lock()
        self._closed = False
        self.failed_by: Callable[[BaseException], None] = lambda _: None

    # -- life ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the state once, and go on reading. Raises `Refused` (directory_unavailable)."""
        await self._read(())
        self._tasks = (
            asyncio.create_task(self._poll(), name="directory poller"),
            asyncio.create_task(self._serve(), name="directory rows"),
        )
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that reads has failed by a defect, or for lack of memory: nothing is confirmed any more."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._warn(f"{task.get_name()} failed: {type(error).__name__}")
            self.failed_by(error)

    async def close(self) -> None:
        """Stop reading; another call changes nothing."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # A reading that waits for a server would be waited for.
        self._session.interrupt()
        await self._thread.call(self._session.close)
        self._thread.close()

    @property
    def confirmed(self) -> bool:
        """Whether the revision was confirmed within the last 2 seconds."""
        return self._confirmed is not None and self._monotonic() - self._confirmed <= CONFIRMED_SECONDS

    @property
    def confirmed_at(self) -> float | None:
        """The moment (`monotonic`) at which the revision was last known to be the newest."""
        return self._confirmed

    @property
    def revision(self) -> int:
        """The revision known now."""
        return self._state.revision

    @property
    def tenants_revision(self) -> Hashable:
        """Another one after each change of an organization, anchor or intermediate, and where all was read anew."""
        return self._line, self._state.organizations, self._state.trust

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self._memory.age()
            with contextlib.suppress(Refused, NotLoaded):
                self._crls.crls().memory.age()
            with contextlib.suppress(Refused):
                await self._read(())

    # -- the view ------------------------------------------------------------------------------------

    def view(self) -> DirectoryReader:
        """A view of the revision known now; see `authz.ports.Directory`."""
        if not self.confirmed:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE, "the directory's revision was not confirmed for 2 s")
        return self

    def organization(self, host: str) -> Organization | None:
        """See `authz.view.View`."""
        organization = self._cache.get("hosts", host, self._line)
        if organization is MISSING:
            known = self._cache.outdated("hosts", host)
            raise NotLoaded(HostKey(host, known.id if isinstance(known, Organization) else 0))
        return organization  # type: ignore[return-value]

    def user(self, organization: Organization, name: str) -> User | None:
        """See `authz.view.View`."""
        key = UserKey(organization.id, name)
        return self._row(organization.id, key)  # type: ignore[return-value]

    def registrations(self, organization: Organization, sha256: bytes) -> tuple[Registration, ...]:
        """See `authz.view.View`."""
        key = RegistrationsKey(organization.id, sha256)
        return self._row(organization.id, key)  # type: ignore[return-value]

    def renewals(self, organization: Organization, keys: LeafKeys) -> tuple[Registration, ...]:
        """See `authz.view.View`."""
        wanted = RenewalsKey.of(organization.id, keys)
        rows = [self._cache.get(organization.id, key, self._line) for key in wanted.keys]
        if any(row is MISSING for row in rows):
            raise NotLoaded(wanted)
        by_id = {registration.id: registration for row in rows for registration in row}  # type: ignore[attr-defined]
        return tuple(by_id.values())

    def _row(self, owner: int, key: RowKey) -> object:
        row = self._cache.get(owner, key, self._line)
        if row is MISSING:
            raise NotLoaded(key)
        return row

    def trust(self, organization: Organization) -> TrustStore:
        """See `authz.view.View`."""
        key = TrustKey(organization.id)
        trust = self._cache.get("trust", key, self._line)
        if trust is MISSING:
            raise NotLoaded(key)
        if isinstance(trust, Refused):
            raise Refused(trust.reason, trust.detail, certificate=trust.certificate)
        return trust  # type: ignore[return-value]

    def crls(self, organization: Organization) -> CrlStore:  # noqa: ARG002 - a CRL speaks for a key, so tenants never meet
        """See `authz.view.View`."""
        return self._crls.crls()

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See `authz.view.View`."""
        return self._crls.mode_of(organization)

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.view.View`."""
        self._crls.request_crls(organization, path)

    def decode_cache(self, organization: Organization) -> DecodeCache:
        """See `authz.view.View`."""
        return self._memory.part(organization.id, DecodeCache)

    # -- loading -------------------------------------------------------------------------------------

    async def load(self, key: Hashable) -> bool:
        """See `authz.ports.Source`; checks that wait for one row share its reading."""
        if not isinstance(key, RowKey):
            return False
        await self._waiting.wait_for(key)
        return True

    async def _serve(self) -> None:
        """Read the rows that checks wait for, a batch at a time."""
        while True:
            await self._waiting.asked()
            while batch := self._waiting.next_batch():
                try:
                    failed = await self._read(batch)
                except Refused as refusal:
                    failed = dict.fromkeys(batch, refusal)
                for key in batch:
                    self._waiting.settle(key, failed.get(key))

    async def _read(self, keys: Collection[RowKey]) -> dict[RowKey, Refused]:
        """One transaction, taken over; the rows that failed. Raises `Refused` (directory_unavailable)."""
        async with self._reading:
            started = self._monotonic()
            known, owners = self._state, {key.organization for key in keys if isinstance(key, UserKey)}
            wanted = {owner for owner in owners if not self._cache.has("trust", TrustKey(owner), self._line)}
            result = self._thread.call(lambda: self._session.read(known, keys, wanted))
            reading = await interrupted_after(READ_SECONDS, self._session.interrupt, result)
            self._take(reading)
            self._confirmed = started
        return reading.failed

    def _take(self, reading: Reading) -> None:
        if reading.changed is None:
            self._warn(
                "the directory is not what was read before, changed: it was replaced or restored, or the log of "
                "its changes does not reach back so far; everything is read again"
            )
            self._line += 1
        for changed in reading.changed or ():
            self._cache.drop(changed)
        self._state = reading.state
        # The line is part of it, for a restored copy reaches numbers that were used before.
        self._crls.directory_read((self._line, reading.state.crls))
        if reading.found:
            self._cache.begin()
        for key, value in reading.found.items():
            self._put(key, value)

    def _put(self, key: RowKey, value: object) -> None:
        if isinstance(key, HostKey):
            self._cache.put("hosts", key.host, self._line, value)
        elif isinstance(key, TrustKey):
            self._cache.put("trust", key, self._line, self._trust(key.organization, value))
        else:
            self._cache.put(key.organization, key, self._line, value)

    def _trust(self, owner: int, value: object) -> TrustStore | Refused:
        if isinstance(value, Trust):
            try:
                verified = self._memory.part(owner, VerifiedCache)
                return TrustStore(value.anchors, value.intermediates, verified, value.policy)
            except Refused as missing:
                return missing
        self._warn(f"organization {owner}: {value}")
        return value if isinstance(value, Refused) else Refused(Reason.TRUST_ANCHORS_UNUSABLE)

    # -- for the CRLs --------------------------------------------------------------------------------

    async def listed(self) -> list[CrlRow]:
        """Every CRL, the smallest first; `CrlView.directory_read` is called before, with the state they are listed in.

        Else a list of a state that was gone before the next poll would pass for that of the states around it.

        Raises `Refused` (directory_unavailable).
        """
        async with self._reading:
            known = self._state
            reading, listed = await self._thread.call(lambda: self._session.crls(known))
            self._take(reading)
        return listed

    async def der(self, sha256: bytes) -> bytes | None:
        """One CRL; None if it went meanwhile. Raises `Refused` (directory_unavailable)."""
        return await self._thread.call(lambda: self._session.crl(sha256))

    async def authorities(self) -> list[bytes]:
        """Every organization's anchors and intermediates, in DER. Raises `Refused` (directory_unavailable)."""
        return await self._thread.call(self._session.authorities)

    async def audit_checkpoint(self) -> Checkpoint | None:
        """The state of the audit log; None before its first entry. Raises `Refused` (directory_unavailable)."""
        return await self._thread.call(self._session.audit_checkpoint)

    async def active(self) -> tuple[Hashable, Collection[int]]:
        """Something that changes with organizations and their trust, and the organizations that are active.

        Raises `Refused` (directory_unavailable).
        """
        return await self._thread.call(self._session.active)
