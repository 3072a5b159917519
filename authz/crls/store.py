"""The CRLs that came from sources: in memory for the checks, and each one's last good copy on disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from authz.crls.acceptance import SignedCrl, accept, begins_anew, check_newer
from authz.crls.disk_store import (
    MAX_DEATHS,
    CrlDiskStore,
    DiskCopy,
    DiskStoreFailed,
    FetchRecord,
    copy_name,
    evidence_name,
    is_evidence,
    without_evidence,
)
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.load_order import UnreadCopy, in_turns
from authz.crls.reader import Index, issuer_in, read_crl
from authz.crls.sources import CrlSource
from authz.crls.tombstones import FORGET_AFTER, Tombstone, Tombstones
from authz.errors import IndexingError, Refused
from authz.model import FetchedCrl
from authz.pki import Crl, CrlStore
from authz.pki.x509.algorithms import plain_spki
from authz.pki.x509.distinguished_name import Name

MAX_GIVEN: Final = 32
"""CRLs of different issuers, keys and scopes that one source may have given: it gives one, and another after a CA has
changed its key. A tenant's CA could otherwise fill the memory that all share, CRL by CRL, with ever new scopes."""

ADDED: Final = "added"
"""Where a CRL came from that no source gave, but an operator's `authz crl add`."""

Authorities = Callable[[], Awaitable[Collection[bytes]]]
"""The CA certificates, in DER, that may have signed a CRL."""


@dataclass(frozen=True, slots=True)
class HeldCrl:
    """A CRL that is held: `name` is the one it is kept under, `size` its bytes, `stored` whether that is on disk.

    `state` is what an operator wants to know of it, made once: the refresher looks at all of them twice a second.
    """

    name: str
    signed: SignedCrl
    origin: FetchRecord
    size: int
    stored: bool = True
    state: FetchedCrl = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        crl, origin = self.crl, self.origin
        state = FetchedCrl(
            name=self.name,
            location=origin.url,
            sha256=crl.sha256,
            signer=self.signer,
            issuer=crl.issuer.text,
            number=None if crl.number is None else str(crl.number),
            delta=crl.is_delta,
            entries=len(crl.index),
            this_update=crl.this_update,
            next_update=crl.next_update,
            fetched_at=origin.fetched_at,
        )
        object.__setattr__(self, "state", state)

    @property
    def crl(self) -> Crl:
        """The CRL itself."""
        return self.signed.crl

    @property
    def signer(self) -> bytes:
        """The SHA-256 of the key that signed it."""
        return self.signed.signer

    @classmethod
    def added(cls, signed: SignedCrl) -> Self:
        """A CRL that stands in the directory."""
        return cls(
            signed.crl.sha256.hex(), signed, FetchRecord(ADDED, None, None, signed.crl.this_update), 0, stored=False
        )


def answering(copies: Iterable[HeldCrl]) -> list[HeldCrl]:
    """The usable ones that no other supersedes: an operator may have added a newer one than a source, or an older."""
    places: dict[tuple[object, ...], list[HeldCrl]] = {}
    for copy in copies:
        if not copy.crl.unusable:
            places.setdefault((*copy.signed.place, copy.crl.is_delta), []).append(copy)
    return [
        copy for same in places.values() for copy in same if not any(other.crl.supersedes(copy.crl) for other in same)
    ]


class CrlRegistry:
    """Implements "the last good copy": what is here was accepted, and goes only when something newer comes.

    `index` is as in `read_crl`, `warn` reports copies that cannot be used. `check_quota` raises `FetchFailed` where
    there is no room for a copy, for those that it replaces and beside the others. `organizations_of` says who needs
    what a key (its SHA-256) signed and what came from a URL. `renumbered` are locations whose CA counts anew, each with
    a moment: the numbers of fetched CRLs that began no later do not count for what the location gives. `on_change` is
    called when checks are to look at other CRLs, `on_all_read` when every kept copy was read.
    """

    def __init__(self, keep: CrlDiskStore, index: Index, warn: Callable[[str], None]) -> None:
        self._disk = keep
        self._index = index
        self._warn = warn
        self._copies: dict[str, HeldCrl] = {}
        self._places: dict[str, dict[str, HeldCrl]] = {}
        self._digests: dict[bytes, HeldCrl] = {}
        self._signers: Counter[bytes] = Counter()
        self._unread: dict[str, DiskCopy] = {}
        self._tombstones = Tombstones()
        self._turns: dict[str, asyncio.Event] = {}
        self._read_lately: list[HeldCrl] = []
        self.reading = False
        self._lock, self._reading_late = asyncio.Lock(), asyncio.Lock()
        self._added: list[HeldCrl] = []
        self.renumbered: Mapping[str, datetime] = {}
        self.held: Sequence[SignedCrl] = ()
        self.crls: CrlStore | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.on_all_read: Callable[[], None] = lambda: None
        self.check_quota: Callable[[HeldCrl, Iterable[HeldCrl], Iterable[HeldCrl]], None] = lambda *_: None
        self.organizations_of: Callable[[bytes, str], Collection[int]] = lambda *_: ()

    @property
    def folder(self) -> Path:
        """Where files may be put that are to be taken."""
        return self._disk.folder

    def __iter__(self) -> Iterator[HeldCrl]:
        return iter(self._copies.values())

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def signers(self) -> Collection[bytes]:
        """The SHA-256 of each key that signed a CRL that is held."""
        return self._signers.keys()

    def everything(self) -> tuple[HeldCrl, ...]:
        """What came from sources, and what stands in the directory."""
        return (*self, *self._added)

    def replace_added(self, added: Iterable[SignedCrl]) -> None:
        """The directory's CRLs are these from now on."""
        before = {copy.crl.sha256: copy for copy in self._added}
        self._added = [before.get(signed.crl.sha256) or HeldCrl.added(signed) for signed in added]
        self.publish()

    def publish(self) -> None:
        """Let checks look at what is held now."""
        self.held = [copy.signed for copy in self.everything()]
        self.crls = CrlStore(
            (signed.crl for signed in self.held), {signed.crl.sha256: signed.signer for signed in self.held}
        )
        self.on_change()

    def close(self) -> None:
        """Give the folder back."""
        self._disk.close()

    def of(self, location: str) -> list[HeldCrl]:
        """What came from one source."""
        return list(self._places.get(location, {}).values())

    def given_by(self, source: CrlSource) -> list[HeldCrl]:
        """What came from a source; where another gave the same since, what both gave."""
        last = self.stored(source.sha256)
        return self.of(source.location) or ([] if last is None else [last])

    def stored(self, sha256: bytes) -> HeldCrl | None:
        """The CRL of that SHA-256, if it is held and a copy is on disk, whichever source it came from last."""
        copy = self._digests.get(sha256)
        return copy if copy is not None and copy.stored else None

    def _hold(self, copy: HeldCrl) -> None:
        self._let_go(copy.name)
        self._copies[copy.name] = copy
        self._places.setdefault(copy.origin.url, {})[copy.name] = copy
        self._digests[copy.crl.sha256] = copy
        self._signers[copy.signer] += 1

    def _let_go(self, name: str) -> None:
        gone = self._copies.pop(name, None)
        if gone is not None:
            if self._digests.get(gone.crl.sha256) is gone:  # the same CRL may be held under another name by now
                del self._digests[gone.crl.sha256]
            self._signers[gone.signer] -= 1
            if not self._signers[gone.signer]:
                del self._signers[gone.signer]
            place = self._places[gone.origin.url]
            del place[name]
            if not place:
                del self._places[gone.origin.url]

    # -- after a start ----------------------------------------------------------------------------------

    async def look_through(self, due: datetime) -> None:
        """See what was kept: from then on nothing goes back against it, though none of it was read yet.

        What was out of date `FORGET_AFTER` before `due` counts no more.
        """
        self._tombstones = Tombstones.from_bytes(await asyncio.to_thread(self._disk.buried))
        self._tombstones.forget(due)
        try:
            self._unread = {copy.name: copy for copy in await asyncio.to_thread(self._disk.load)}
        except DiskStoreFailed as failure:
            self._warn(str(failure))
        self.reading = bool(self._unread)

    async def read(self, authorities: Authorities, due: datetime) -> None:
        """Read what `look_through` saw, one copy at a time and organizations in turns, verifying each again.

        What cannot be read is set aside, and reported. A copy whose signer is not recorded is verified under one of
        `authorities`.
        """
        try:
            for group in in_turns([await self._inspected(copy) for copy in self._unread.values()]):
                await self._read_group(group, authorities, due)
        finally:
            self.reading = False
            self._end_waits(list(self._turns))

    def read_lately(self) -> list[HeldCrl]:
        """The copies that were read since this was asked last."""
        copies, self._read_lately = self._read_lately, []
        return [copy for copy in copies if self._copies.get(copy.name) is copy]

    async def _inspected(self, kept: DiskCopy) -> UnreadCopy:
        def looked_up() -> tuple[bytes, str, Name | None, int]:
            size = kept.path.stat().st_size if kept.path.exists() else 0
            return self._disk.signer(kept.name), self._disk.url(kept.name), issuer_in(kept.path), size

        signer, url, issuer, size = await asyncio.to_thread(looked_up)
        return UnreadCopy(kept, size, issuer, self.organizations_of(hashlib.sha256(signer).digest(), url))

    async def _read_group(self, group: Sequence[DiskCopy], authorities: Authorities, due: datetime) -> None:
        copies = [copy for kept in group if (copy := await self._read(kept, authorities, due)) is not None]
        for copy in copies:
            del self._unread[copy.name]
            self._hold(copy)
        self._read_lately += copies
        self._end_waits(kept.name for kept in group)

    async def _read(self, kept: DiskCopy, authorities: Authorities, due: datetime) -> HeldCrl | None:
        try:
            if kept.deaths >= MAX_DEATHS:
                await self._set_aside(kept.name, f"{kept.deaths} processes ended while they read it")
                return None
            async with self._marked(kept):
                return await self._load(kept, authorities, due)
        except (DiskStoreFailed, IndexingError, OSError) as problem:
            self._warn(f"the kept CRL {kept.name} is not used: {problem}")
        return None

    async def _wait_for_turn(self, name: str) -> None:
        """Until the copy of that name was read, or need not be: what comes in its place goes before no other's."""
        if self.reading and name in self._unread:
            await self._turns.setdefault(name, asyncio.Event()).wait()

    def _end_waits(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._turns:
                self._turns.pop(name).set()

    @contextlib.asynccontextmanager
    async def _marked(self, kept: DiskCopy) -> AsyncIterator[None]:
        """While the copy is read, one at a time: the one that ends the reader bears a mark then, and no other does."""
        marking = asyncio.create_task(asyncio.to_thread(self._disk.mark, kept))
        try:
            await self._marked_by(marking)
            yield
        finally:
            # A stop that was ordered must not leave a mark that the thread made afterwards.
            await asyncio.wait({marking})
            await asyncio.to_thread(self._disk.unmark, kept.name)

    async def _marked_by(self, marking: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(marking)
        except DiskStoreFailed as failure:
            # A full disk must not cost the copies that are there.
            self._warn(f"{failure}; it is read all the same")

    async def _load(self, kept: DiskCopy, authorities: Authorities, due: datetime) -> HeldCrl | None:
        origin = await asyncio.to_thread(self._disk.origin, kept.name)
        try:
            signed, key = await self._verified(kept, authorities)
        except (FetchFailed, Refused) as problem:
            if not _is_damage(problem):
                self._warn(f"the kept CRL {kept.name} is not used: {problem}")
                return None
            await self._set_aside(kept.name, str(problem))
            return None
        if not _fits(kept.name, signed, key):
            await self._set_aside(kept.name, "it is another CRL than its name says")
            return None
        expires = signed.crl.next_update or signed.crl.this_update
        # A CRL may end with the last moment that can be represented, and nothing can be added to that.
        # Evidence counts until a newer CRL replaces it, however old it is.
        if due - expires > FORGET_AFTER and not signed.crl.unusable:
            await asyncio.to_thread(self._disk.remove, kept.name)
            del self._unread[kept.name]
            return None
        record = replace(origin or FetchRecord("", None, None, signed.crl.this_update), signer=key)
        size = (await asyncio.to_thread(kept.path.stat)).st_size
        return HeldCrl(kept.name, signed, record, size)

    async def _set_aside(self, name: str, why: str) -> None:
        self._warn(f"the kept CRL {name} is set aside: {why}")
        rank = Tombstone.from_json(await asyncio.to_thread(self._disk.rank, name))
        if rank is not None:
            signer = hashlib.sha256(await asyncio.to_thread(self._disk.signer, name)).digest()
            self._tombstones.add(rank, self.organizations_of(signer, await asyncio.to_thread(self._disk.url, name)))
            await asyncio.to_thread(self._disk.bury, self._tombstones.to_bytes())
        await asyncio.to_thread(self._disk.set_aside, name, why)
        del self._unread[name]

    async def _read_late(self, name: str, key: bytes) -> None:
        """The copy that could not be read at the start, if there is one: nothing may go back against it either.

        Its key is known now. Raises `FetchFailed` (indexing).
        """
        kept = self._unread.get(name)
        if kept is None:
            return
        try:
            async with self._marked(kept):
                crl = await self._index(kept.path, [key])
                size = (await asyncio.to_thread(kept.path.stat)).st_size
        except Refused as refusal:
            await self._set_aside(name, str(refusal))
            return
        except (IndexingError, OSError) as error:
            raise FetchFailed(FailureKind.INDEXING, f"the copy kept of it cannot be read: {error}") from error
        del self._unread[name]
        crl.mark_expired(when_it_came=is_evidence(name))
        origin = await asyncio.to_thread(self._disk.origin, name) or FetchRecord("", None, None, crl.this_update)
        signed = SignedCrl(crl, hashlib.sha256(plain_spki(key)).digest())
        self._hold(HeldCrl(name, signed, replace(origin, signer=key), size))

    async def _verified(self, kept: DiskCopy, authorities: Authorities) -> tuple[SignedCrl, bytes]:
        """Raises `FetchFailed`, `Refused`, `IndexingError`, `OSError`."""
        signer = await asyncio.to_thread(self._disk.signer, kept.name)
        if not signer:
            return await read_crl(kept.path, await authorities(), self._index)
        try:
            crl = await self._index(kept.path, [signer])
        except Refused as refusal:
            # Either the copy is damaged or what is remembered of it: a known CA decides which.
            try:
                return await read_crl(kept.path, await authorities(), self._index)
            except FetchFailed as failure:
                raise (failure if failure.kind in _OURS else refusal) from None
        return SignedCrl(crl, hashlib.sha256(plain_spki(signer)).digest()), signer

    # -- what comes --------------------------------------------------------------------------------------

    async def accept(self, path: Path, new: SignedCrl, origin: FetchRecord, now: datetime) -> tuple[bool, str]:
        """Hold `new`, which stands in the file `path`, in the place of what it replaces, and keep a copy.

        It must not go back against the directory's CRLs either. Returns whether anything changed, and why no copy
        could be kept, if so; it is held all the same, for it is the newest.
        Raises `FetchFailed`, and then everything stays as it is.
        """
        name = _name(new, origin.signer)
        await self._wait_for_turn(name)
        if name in self._unread:
            async with self._reading_late:
                await self._read_late(name, origin.signer)
        async with self._lock:
            replaced = self._check(new, origin, now)
            name = _name(new, origin.signer)
            before = self._copies.get(name)
            changed = before is None or before.crl.sha256 != new.crl.sha256
            signed = new if changed or before is None else before.signed
            if not changed and before is not None and before.stored:
                self._hold(replace(before, origin=origin))
                with contextlib.suppress(DiskStoreFailed):
                    await asyncio.to_thread(self._disk.note, name, origin)
                return False, ""
            copy = HeldCrl(name, signed, origin, (await asyncio.to_thread(path.stat)).st_size)
            going = [copy for copy in self if copy.signed in replaced or copy.name == name]
            self.check_quota(copy, going, [copy for copy in self if copy not in going])
            problem = await self._store(name, path, origin, Tombstone.of(new, origin.signer))
            self._hold(replace(copy, stored=not problem))
            await self._remove([copy for copy in going if copy.name != name])
            if changed:
                self.publish()
            return changed, problem

    def _check(self, new: SignedCrl, origin: FetchRecord, now: datetime) -> list[SignedCrl]:
        """Those that `new` replaces. Raises `FetchFailed` if it may not be held."""
        until = self.renumbered.get(origin.url)
        by_date = [copy.signed for copy in self if until is not None and copy.crl.this_update <= until]
        self._tombstones.check(new, origin.signer, until)
        replaced = accept(new, [copy.signed for copy in (*self._added, *self)], now, by_date)
        name = _name(new, origin.signer)
        before = self._copies.get(name)
        if before is None:
            others = {without_evidence(copy.name) for copy in self.of(origin.url)} - {without_evidence(name)}
            if len(others) >= MAX_GIVEN:
                detail = f"{MAX_GIVEN} CRLs of different issuers, keys or scopes are held from there"
                raise FetchFailed(FailureKind.TOO_MANY, detail)
        elif before.signed not in by_date or not begins_anew(new, before.signed, now):
            # What is held elsewhere as well, in the directory say, passes for itself: not for what is newer here.
            check_newer(new, before.signed)
        return replaced

    async def _store(self, name: str, path: Path, origin: FetchRecord, rank: Tombstone) -> str:
        """Why there is no copy on disk; empty if there is."""

        def put() -> None:
            with path.open("rb") as body:
                self._disk.put(name, body, origin, rank.to_json())

        try:
            await asyncio.to_thread(put)
        except DiskStoreFailed as failure:
            return f"{failure}; {failure.hint}" if failure.hint else str(failure)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    async def _remove(self, copies: Collection[HeldCrl]) -> None:
        for copy in copies:
            self._let_go(copy.name)
            try:
                await asyncio.to_thread(self._disk.remove, copy.name)
            except DiskStoreFailed as failure:
                self._warn(str(failure))

    async def let_go(self, copies: Collection[HeldCrl]) -> None:
        """These are needed no more; what was accepted in the place of one meanwhile stays."""
        async with self._lock:
            going = [copy for copy in copies if self._copies.get(copy.name) is copy]
            if going and await self._bury(going):
                await self._remove(going)
                self.publish()

    async def _bury(self, copies: Iterable[HeldCrl]) -> bool:
        """Whether nothing older can take the place of these, should they go."""
        for copy in copies:
            organizations = self.organizations_of(copy.signer, copy.origin.url)
            self._tombstones.add(Tombstone.of(copy.signed, copy.origin.signer), organizations)
        self._tombstones.trim()
        try:
            await asyncio.to_thread(self._disk.bury, self._tombstones.to_bytes())
        except DiskStoreFailed as failure:
            self._warn(f"{failure}; what is not needed any more stays until they can")
            return False
        return True

    async def hand_over(self, location: str, heirs: Mapping[bytes, str]) -> None:
        """No source is there any more: what it gave is that of another, by its SHA-256, or of none (`url` is empty)."""
        async with self._lock:
            for copy in self.of(location):
                origin = replace(copy.origin, url=heirs.get(copy.crl.sha256, ""), etag=None, last_modified=None)
                if origin.url == location:
                    continue
                self._hold(replace(copy, origin=origin))
                if copy.stored:
                    with contextlib.suppress(DiskStoreFailed):
                        await asyncio.to_thread(self._disk.note, copy.name, origin)

    async def touch(self, location: str, origin: FetchRecord) -> None:
        """The source says that what it gave is current; what to ask it next may be new."""
        async with self._lock:
            for copy in self.of(location):
                if copy.stored:
                    record = replace(origin, signer=copy.origin.signer)
                    self._hold(replace(copy, origin=record))
                    with contextlib.suppress(DiskStoreFailed):
                        await asyncio.to_thread(self._disk.note, copy.name, record)


_CORRUPT: Final = frozenset({FailureKind.MALFORMED, FailureKind.ALGORITHM})
"""What a copy that was accepted once can only be because its file was changed. Its signer, though, may have gone."""

_OURS: Final = frozenset({FailureKind.INDEXING, FailureKind.STORAGE})


def _is_damage(problem: FetchFailed | Refused) -> bool:
    """Whether it is about the copy, and not about us or the directory, which may be better the next time."""
    return problem.kind in _CORRUPT if isinstance(problem, FetchFailed) else problem.reason.status != 503


def _name(signed: SignedCrl, key: bytes) -> str:
    """The name to keep it under. Deltas of different bases stand beside each other until something replaces them."""
    crl = signed.crl
    base = b"" if crl.base_number is None else str(crl.base_number).encode()
    name = copy_name(bytes(crl.issuer), key, crl.scope + base, delta=crl.is_delta)
    return evidence_name(name, crl.sha256) if crl.unusable else name


def _fits(name: str, signed: SignedCrl, key: bytes) -> bool:
    """Whether the CRL was kept under `name`; what was kept as evidence is that again."""
    signed.crl.mark_expired(when_it_came=is_evidence(name))
    # An earlier version kept what is unusable in the place of the others.
    return name in (_name(signed, key), without_evidence(_name(signed, key)))
