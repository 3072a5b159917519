"""One try of one source: what it gives is fetched, read, and accepted or refused, and the source says how it fares."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from authz.blocking_calls import run_in_daemon_thread
from authz.crls import folder
from authz.crls.acceptance import Held
from authz.crls.disk_store import Origin
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.fair_queue import Party, Turns
from authz.crls.fetch.client import Fetcher, NotModified
from authz.crls.fetch.transfer_quota import Claim
from authz.crls.reader import Index, issuer_in, read_crl
from authz.crls.source import ACCEPTED, UNCHANGED, Source
from authz.crls.store import Library
from authz.errors import Refused
from authz.model import CrlSourceKind
from authz.pki import Crl
from authz.ports import Clock

MAX_COPIES: Final = 4
"""Files that are copied at once, those that hang left aside."""

MAX_FILES_EACH: Final = 2
"""Files of one folder that are tried at once, those that hang among them: it may answer for hours no more."""

COPY_SECONDS: Final = 5.0
"""How long a copy keeps other folders' waiting: a network file system may answer no more."""


class Trials:
    """Tries sources. `others` gives the CRLs held that came from elsewhere, `authorities` every known CA in DER.

    `room` says how many octets a source may give, `gave` is called with a source that gave what is held, `changed` when
    something new is held.
    """

    def __init__(
        self,
        library: Library,
        fetcher: Fetcher,
        index: Index,
        clock: Clock,
        *,
        max_octets: int,
        authorities: Callable[[], Awaitable[Collection[bytes]]],
        others: Callable[[], Collection[Held]],
        room: Callable[[Source], int],
        gave: Callable[[Source], None],
        changed: Callable[[], None],
    ) -> None:
        self._library = library
        self._fetcher = fetcher
        self._index = index
        self._clock = clock
        self._max_octets = max_octets
        self._authorities = authorities
        self._others = others
        self._room = room
        self._gave = gave
        self._changed = changed
        # Organizations' points keep no URL of the operator's waiting, nor the other way round.
        self._points, self._urls = Turns(), Turns()
        self._copies = asyncio.Semaphore(MAX_COPIES)
        self._folders: dict[Path, asyncio.Semaphore] = {}
        self._large = WeakValueDictionary[Party, asyncio.Lock]()

    async def run(self, source: Source) -> None:
        """Try `source`; whatever comes of it, it says so itself."""
        async with self._turn(source) as party:
            try:
                whose = source.location if party is None else party
                await self._try(source, whose, partial(self._index_in_turn, whose))
                self._gave(source)
            except FetchFailed as failure:
                source.failed(failure.kind, failure.detail, self._clock.now())
            except Refused as refusal:
                source.failed(FailureKind.STORAGE, f"the directory: {refusal}", self._clock.now())

    def look(self, source: Source) -> None:
        """Another organization names a source that waits for its turn, or a check waits for it."""
        self._turns_of(source).look(source)

    async def _index_in_turn(self, party: Party, source: Path | int, keys: Collection[bytes]) -> Crl:
        """One at a time for each party, so that those that wait for a process that reads large CRLs take turns."""
        turn = self._large.get(party) or asyncio.Lock()
        self._large[party] = turn
        async with turn:
            return await self._index(source, keys)

    def _turn(self, source: Source) -> contextlib.AbstractAsyncContextManager[Party | None]:
        if source.kind is CrlSourceKind.FILE:
            return self._folders.setdefault(Path(source.location).parent, asyncio.Semaphore(MAX_FILES_EACH))
        return self._turns_of(source).turn(source)

    def _turns_of(self, source: Source) -> Turns:
        return self._points if source.kind is CrlSourceKind.POINT else self._urls

    async def _copied(self, path: Path) -> Path:
        """A copy of the file; see `folder.copy`."""
        async with self._copies:
            copy = run_in_daemon_thread(
                lambda: folder.copy(path, self._library.folder, self._max_octets), f"copy {path}"
            )
            try:
                await asyncio.wait({copy}, timeout=COPY_SECONDS)
            except asyncio.CancelledError:
                copy.cancel()
                raise
        return await copy

    async def _try(self, source: Source, party: Party, index: Index) -> None:
        if source.kind is CrlSourceKind.FILE:
            path = await self._copied(Path(source.location))
            try:
                origin = Origin(source.location, None, None, self._clock.now(), named=True)
                await self._take(source, path, origin, index)
            finally:
                await asyncio.to_thread(path.unlink, missing_ok=True)
            return
        last = self._library.kept(source.sha256)
        # What is not held any more cannot be "not modified"; nor is that believed of what should have been replaced.
        current = last is not None and (last.held.crl.next_update or self._clock.now()) >= self._clock.now()
        validators = source.validators if current else None
        claim = Claim(party, max((one.octets for one in self._library.of(source.location)), default=0))
        answer = await self._fetcher.fetch(source.location, self._library.folder, validators, claim)
        now, told = self._clock.now(), answer.validators
        named = source.kind is not CrlSourceKind.POINT
        origin = Origin(source.location, told.etag, told.last_modified, now, named=named)
        if isinstance(answer, NotModified):
            await self._library.seen(source.location, origin)
            source.succeeded(UNCHANGED, now)
            return
        with answer:
            kept = self._library.kept(answer.sha256)
            if kept is not None:
                # Octet for octet what is held: a server without validators, or the second of two that give the same,
                # costs a transfer, and no indexing.
                if not kept.origin.url:
                    await self._library.hand_over("", {answer.sha256: source.location})
                await self._library.seen(source.location, origin)
                source.issuer, source.claimed = kept.held.crl.issuer, None
                source.succeeded(UNCHANGED, now)
            else:
                room = self._room(source)
                if answer.size > room:
                    detail = f"{answer.size} octets, and its organization's distribution points may hold {room} more"
                    raise FetchFailed(FailureKind.TOO_LARGE, detail)
                await self._take(source, answer.path, origin, index)
        source.validators, source.sha256 = told, answer.sha256

    async def _take(self, source: Source, path: Path, origin: Origin, index: Index) -> None:
        """Raises `FetchFailed`, or `Refused` when the directory cannot say which CAs are known."""
        source.validators = None
        source.claimed = await asyncio.to_thread(issuer_in, path)
        mine = [der for each in source.authorities.values() for der in each.values()]
        try:
            held, key = await read_crl(path, mine or await self._authorities(), index)
        except FetchFailed as failure:
            if failure.kind is not FailureKind.SIGNER_UNKNOWN or not mine:
                raise
            # An indirect CRL is signed by somebody whose certificate stands on no path that leads to it.
            held, key = await read_crl(path, await self._authorities(), index)
        now = self._clock.now()
        origin = replace(origin, signer=key)
        changed, problem = await self._library.take(path, held, origin, self._others(), now)
        source.issuer, source.claimed = held.crl.issuer, None
        if changed:
            self._changed()
        if problem:
            # It is held, but would not survive a restart: said, and tried again.
            source.failed(FailureKind.STORAGE, problem, now)
            source.accepted_at = now
        else:
            source.succeeded(ACCEPTED if changed else UNCHANGED, now, held.known_as)
