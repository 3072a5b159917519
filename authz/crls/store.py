"""The CRLs that came from sources: in memory for the checks, and each one's last good copy on disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from authz.crls.acceptance import Held, accept, check_newer
from authz.crls.disk_store import MAX_DEATHS, Keep, KeepFailed, Kept, Origin, name_of
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.load_order import Unread, in_turns
from authz.crls.reader import Index, issuer_in, read_crl
from authz.crls.tombstones import FORGET_AFTER, Tombstone, Tombstones
from authz.errors import IndexingError, Refused
from authz.model import FetchedCrl
from authz.pki.x509.distinguished_name import Name

MAX_GIVEN: Final = 32
"""CRLs of different issuers, keys and scopes that one source may have given: it gives one, and another after a CA has
changed its key. A tenant's CA could otherwise have everybody's memory filled, CRL by CRL, with ever new scopes."""

ADDED: Final = "added"
"""Where a CRL came from that no source gave, but an operator's `authz crl add`."""

Authorities = Callable[[], Awaitable[Collection[bytes]]]
"""The CA certificates, in DER, that may have signed a CRL."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A CRL that is held: `name` is the one it is kept under, `octets` its length, `stored` whether that is on disk.

    `state` is what an operator wants to know of it, made once: somebody looks at all of them twice a second.
    """

    name: str
    held: Held
    origin: Origin
    octets: int
    stored: bool = True
    state: FetchedCrl = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        crl, origin = self.held.crl, self.origin
        state = FetchedCrl(
            name=self.name,
            location=origin.url,
            sha256=crl.sha256,
            signer=self.held.signer,
            issuer=crl.issuer.text,
            number=None if crl.number is None else str(crl.number),
            delta=crl.is_delta,
            entries=len(crl.index),
            this_update=crl.this_update,
            next_update=crl.next_update,
            fetched_at=origin.fetched_at,
        )
        object.__setattr__(self, "state", state)

    @classmethod
    def added(cls, held: Held) -> Self:
        """A CRL that stands in the directory."""
        return cls(held.crl.sha256.hex(), held, Origin(ADDED, None, None, held.crl.this_update), 0, stored=False)


def answering(copies: Iterable[Copy]) -> list[Copy]:
    """Those that no other supersedes: an operator may have added a newer CRL than a source gave, or an older one."""
    places: dict[tuple[object, ...], list[Copy]] = {}
    for one in copies:
        places.setdefault((*one.held.place, one.held.crl.is_delta), []).append(one)
    return [
        one
        for same in places.values()
        for one in same
        if not any(other.held.crl.supersedes(one.held.crl) for other in same)
    ]


class Library:
    """Implements "the last good copy": what is here was accepted, and goes only when something newer comes.

    `index` is as in `read_crl`, `warn` is told of copies that cannot be used. `check_room` raises `FetchFailed` where
    there is no room for a copy, for those that it replaces and beside the others. `organizations_of` says who needs
    what a key (its SHA-256) signed and what came from a URL.
    """

    def __init__(self, keep: Keep, index: Index, warn: Callable[[str], None]) -> None:
        self._keep = keep
        self._index = index
        self._warn = warn
        self._copies: dict[str, Copy] = {}
        self._places: dict[str, dict[str, Copy]] = {}
        self._digests: dict[bytes, Copy] = {}
        self._signers: Counter[bytes] = Counter()
        self._unread: dict[str, Kept] = {}
        self._tombstones = Tombstones()
        self._turns: dict[str, asyncio.Event] = {}
        self._read_lately: list[Copy] = []
        self.reading = False
        self._lock, self._reading_late = asyncio.Lock(), asyncio.Lock()
        self.check_room: Callable[[Copy, Iterable[Copy], Iterable[Copy]], None] = lambda *_: None
        self.organizations_of: Callable[[bytes, str], Collection[int]] = lambda *_: ()

    @property
    def folder(self) -> Path:
        """Where files may be put that are to be taken."""
        return self._keep.folder

    def __iter__(self) -> Iterator[Copy]:
        return iter(self._copies.values())

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def signers(self) -> Collection[bytes]:
        """The SHA-256 of each key that signed a CRL that is held."""
        return self._signers.keys()

    def of(self, location: str) -> list[Copy]:
        """What came from one source."""
        return list(self._places.get(location, {}).values())

    def kept(self, sha256: bytes) -> Copy | None:
        """The CRL of that SHA-256, if it is held and a copy is on disk, whichever source it came from last."""
        found = self._digests.get(sha256)
        return found if found is not None and found.stored else None

    def _hold(self, copy: Copy) -> None:
        self._let_go(copy.name)
        self._copies[copy.name] = copy
        self._places.setdefault(copy.origin.url, {})[copy.name] = copy
        self._digests[copy.held.crl.sha256] = copy
        self._signers[copy.held.signer] += 1

    def _let_go(self, name: str) -> None:
        gone = self._copies.pop(name, None)
        if gone is not None:
            del self._digests[gone.held.crl.sha256]
            self._signers[gone.held.signer] -= 1
            if not self._signers[gone.held.signer]:
                del self._signers[gone.held.signer]
            place = self._places[gone.origin.url]
            del place[name]
            if not place:
                del self._places[gone.origin.url]

    # -- after a start ----------------------------------------------------------------------------------

    async def load(self, authorities: Authorities, now: datetime, grace: timedelta = timedelta(0)) -> None:
        """Read what was kept, verifying each again; what cannot be read is set aside, and told.

        A copy whose signer nobody remembers is verified under one of `authorities`; `grace` is the longest one.
        """
        await self.look_through(now - grace)
        await self.read(authorities, now - grace)

    async def look_through(self, due: datetime) -> None:
        """See what was kept: from then on nothing goes back against it, though none of it was read yet.

        What was out of date `FORGET_AFTER` before `due` counts no more.
        """
        self._tombstones = Tombstones.from_bytes(await asyncio.to_thread(self._keep.buried))
        self._tombstones.forget(due)
        try:
            self._unread = {one.name: one for one in await asyncio.to_thread(self._keep.load)}
        except KeepFailed as failure:
            self._warn(str(failure))
        self.reading = bool(self._unread)

    async def read(self, authorities: Authorities, due: datetime) -> None:
        """Read what `look_through` saw, one copy at a time and organizations in turns; see `load`."""
        try:
            for group in in_turns([await self._seen_of(one) for one in self._unread.values()]):
                await self._read_group(group, authorities, due)
        finally:
            self.reading = False
            self._let_wait_no_more(list(self._turns))

    def read_lately(self) -> list[Copy]:
        """The copies that were read since this was asked last."""
        found, self._read_lately = self._read_lately, []
        return [one for one in found if self._copies.get(one.name) is one]

    async def _seen_of(self, kept: Kept) -> Unread:
        def looked_up() -> tuple[bytes, str, Name | None, int]:
            octets = kept.path.stat().st_size if kept.path.exists() else 0
            return self._keep.signer(kept.name), self._keep.url(kept.name), issuer_in(kept.path), octets

        signer, url, issuer, octets = await asyncio.to_thread(looked_up)
        return Unread(kept, octets, issuer, self.organizations_of(hashlib.sha256(signer).digest(), url))

    async def _read_group(self, group: Sequence[Kept], authorities: Authorities, due: datetime) -> None:
        found = [copy for one in group if (copy := await self._read(one, authorities, due)) is not None]
        for copy in found:
            del self._unread[copy.name]
            self._hold(copy)
        self._read_lately += found
        self._let_wait_no_more([one.name for one in group])

    async def _read(self, one: Kept, authorities: Authorities, due: datetime) -> Copy | None:
        try:
            if one.deaths >= MAX_DEATHS:
                await self._set_aside(one.name, f"{one.deaths} processes ended while they read it")
                return None
            async with self._marked(one):
                return await self._load(one, authorities, due)
        except (KeepFailed, IndexingError, OSError) as problem:
            self._warn(f"the kept CRL {one.name} is not used: {problem}")
        return None

    async def _its_turn(self, name: str) -> None:
        """Until the copy of that name was read, or need not be: what comes in its place goes before no other's."""
        if self.reading and name in self._unread:
            await self._turns.setdefault(name, asyncio.Event()).wait()

    def _let_wait_no_more(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._turns:
                self._turns.pop(name).set()

    @contextlib.asynccontextmanager
    async def _marked(self, kept: Kept) -> AsyncIterator[None]:
        """While the copy is read, one at a time: the one that ends the reader bears a mark then, and no other does."""
        marking = asyncio.create_task(asyncio.to_thread(self._keep.mark, kept))
        try:
            await self._marked_by(marking)
            yield
        finally:
            # A stop that was ordered must not leave a mark that the thread made afterwards.
            await asyncio.wait({marking})
            await asyncio.to_thread(self._keep.unmark, kept.name)

    async def _marked_by(self, marking: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(marking)
        except KeepFailed as failure:
            # A full disk must not cost the copies that are there.
            self._warn(f"{failure}; it is read all the same")

    async def _load(self, kept: Kept, authorities: Authorities, due: datetime) -> Copy | None:
        origin = await asyncio.to_thread(self._keep.origin, kept.name)
        try:
            held, key = await self._verified(kept, authorities)
        except (FetchFailed, Refused) as problem:
            if not _is_damage(problem):
                self._warn(f"the kept CRL {kept.name} is not used: {problem}")
                return None
            await self._set_aside(kept.name, str(problem))
            return None
        if _name(held, key) != kept.name:
            await self._set_aside(kept.name, "it is another CRL than its name says")
            return None
        expires = held.crl.next_update or held.crl.this_update
        # A CRL may end with the last moment that can be told, and nothing can be added to that.
        if due - expires > FORGET_AFTER:
            await asyncio.to_thread(self._keep.remove, kept.name)
            del self._unread[kept.name]
            return None
        told = replace(origin or Origin("", None, None, held.crl.this_update), signer=key)
        octets = (await asyncio.to_thread(kept.path.stat)).st_size
        return Copy(kept.name, held, told, octets)

    async def _set_aside(self, name: str, why: str) -> None:
        self._warn(f"the kept CRL {name} is set aside: {why}")
        rank = Tombstone.from_told(await asyncio.to_thread(self._keep.rank, name))
        if rank is not None:
            signer = hashlib.sha256(await asyncio.to_thread(self._keep.signer, name)).digest()
            self._tombstones.add(rank, self.organizations_of(signer, await asyncio.to_thread(self._keep.url, name)))
            await asyncio.to_thread(self._keep.bury, self._tombstones.to_bytes())
        await asyncio.to_thread(self._keep.set_aside, name, why)
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
                octets = (await asyncio.to_thread(kept.path.stat)).st_size
        except Refused as refusal:
            await self._set_aside(name, str(refusal))
            return
        except (IndexingError, OSError) as error:
            raise FetchFailed(FailureKind.INDEXING, f"the copy kept of it cannot be read: {error}") from error
        del self._unread[name]
        origin = await asyncio.to_thread(self._keep.origin, name) or Origin("", None, None, crl.this_update)
        held = Held(crl, hashlib.sha256(key).digest())
        self._hold(Copy(name, held, replace(origin, signer=key), octets))

    async def _verified(self, kept: Kept, authorities: Authorities) -> tuple[Held, bytes]:
        """Raises `FetchFailed`, `Refused`, `IndexingError`, `OSError`."""
        signer = await asyncio.to_thread(self._keep.signer, kept.name)
        if not signer:
            return await read_crl(kept.path, await authorities(), self._index)
        try:
            crl = await self._index(kept.path, [signer])
        except Refused as refusal:
            # Either the copy is damaged or what is remembered of it: a CA that is known tells which.
            try:
                return await read_crl(kept.path, await authorities(), self._index)
            except FetchFailed as failure:
                raise (failure if failure.kind in _OURS else refusal) from None
        return Held(crl, hashlib.sha256(signer).digest()), signer

    # -- what comes --------------------------------------------------------------------------------------

    async def take(
        self, path: Path, new: Held, origin: Origin, others: Collection[Held], now: datetime
    ) -> tuple[bool, str]:
        """Hold `new`, which stands in the file `path`, in the place of what it replaces, and keep a copy.

        `others` are CRLs held elsewhere, against which it must not go back either. Returns whether anything
        changed, and why no copy could be kept, if so; it is held all the same, for it is the newest.
        Raises `FetchFailed`, and then everything stays as it is.
        """
        name = _name(new, origin.signer)
        await self._its_turn(name)
        if name in self._unread:
            async with self._reading_late:
                await self._read_late(name, origin.signer)
        async with self._lock:
            self._tombstones.check(new, origin.signer)
            replaced = accept(new, [*others, *(one.held for one in self)], now)
            before = self._copies.get(name)
            if before is not None:
                # What is held elsewhere as well, in the directory say, passes for itself: not for what is newer here.
                check_newer(new, before.held)
            elif len(self.of(origin.url)) >= MAX_GIVEN:
                detail = f"{MAX_GIVEN} CRLs of different issuers, keys or scopes are held from there"
                raise FetchFailed(FailureKind.TOO_MANY, detail)
            changed = before is None or before.held.crl.sha256 != new.crl.sha256
            held = new if changed or before is None else before.held
            if not changed and before is not None and before.stored:
                self._hold(replace(before, origin=origin))
                with contextlib.suppress(KeepFailed):
                    await asyncio.to_thread(self._keep.note, name, origin)
                return False, ""
            copy = Copy(name, held, origin, (await asyncio.to_thread(path.stat)).st_size)
            going = [one for one in self if one.held in replaced or one.name == name]
            self.check_room(copy, going, [one for one in self if one not in going])
            problem = await self._store(name, path, origin, Tombstone.of(new, origin.signer))
            self._hold(replace(copy, stored=not problem))
            await self._remove([one for one in going if one.name != name])
            return changed, problem

    async def _store(self, name: str, path: Path, origin: Origin, rank: Tombstone) -> str:
        """Why there is no copy on disk; empty if there is."""

        def put() -> None:
            with path.open("rb") as body:
                self._keep.put(name, body, origin, rank.told())

        try:
            await asyncio.to_thread(put)
        except KeepFailed as failure:
            return f"{failure}; {failure.hint}" if failure.hint else str(failure)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    async def _remove(self, copies: Collection[Copy]) -> None:
        for one in copies:
            self._let_go(one.name)
            try:
                await asyncio.to_thread(self._keep.remove, one.name)
            except KeepFailed as failure:
                self._warn(str(failure))

    async def let_go(self, copies: Collection[Copy]) -> None:
        """Nobody needs these; what was taken in the place of one meanwhile stays."""
        async with self._lock:
            going = [one for one in copies if self._copies.get(one.name) is one]
            if going and await self._bury(going):
                await self._remove(going)

    async def _bury(self, copies: Iterable[Copy]) -> bool:
        """Whether nothing older can take the place of these, should they go."""
        for one in copies:
            organizations = self.organizations_of(one.held.signer, one.origin.url)
            self._tombstones.add(Tombstone.of(one.held, one.origin.signer), organizations)
        self._tombstones.trim()
        try:
            await asyncio.to_thread(self._keep.bury, self._tombstones.to_bytes())
        except KeepFailed as failure:
            self._warn(f"{failure}; what is not needed any more stays until they can")
            return False
        return True

    async def hand_over(self, location: str, heirs: Mapping[bytes, str]) -> None:
        """No source is there any more: what it gave is that of another, by its SHA-256, or of none (`url` is empty)."""
        async with self._lock:
            for one in self.of(location):
                origin = replace(one.origin, url=heirs.get(one.held.crl.sha256, ""), etag=None, last_modified=None)
                if origin.url == location:
                    continue
                self._hold(replace(one, origin=origin))
                if one.stored:
                    with contextlib.suppress(KeepFailed):
                        await asyncio.to_thread(self._keep.note, one.name, origin)

    async def seen(self, location: str, origin: Origin) -> None:
        """The source says that what it gave is current; what to ask it next may be new."""
        async with self._lock:
            for one in self.of(location):
                if one.stored:
                    told = replace(origin, signer=one.origin.signer)
                    self._hold(replace(one, origin=told))
                    with contextlib.suppress(KeepFailed):
                        await asyncio.to_thread(self._keep.note, one.name, told)


_CORRUPT: Final = frozenset({FailureKind.MALFORMED, FailureKind.ALGORITHM})
"""What a copy that was accepted once can only be because its file was changed. Its signer, though, may have gone."""

_OURS: Final = frozenset({FailureKind.INDEXING, FailureKind.STORAGE})


def _is_damage(problem: FetchFailed | Refused) -> bool:
    """Whether it is about the copy, and not about us or the directory, which may be better the next time."""
    return problem.kind in _CORRUPT if isinstance(problem, FetchFailed) else problem.reason.status != 503


def _name(held: Held, key: bytes) -> str:
    """The name to keep it under. Deltas of different bases stand beside each other until something replaces them."""
    crl = held.crl
    base = b"" if crl.base_number is None else str(crl.base_number).encode()
    return name_of(bytes(crl.issuer), key, crl.scope + base, delta=crl.is_delta)
