"""The jobs that refresh sources: one of each at a time; what is fetched is read, and accepted or refused.

`RefreshJobs` says which jobs run and when the next is due, `RefreshAttempts` what one of them does when it is its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from authz.blocking_calls import run_in_daemon_thread
from authz.crls import watched_files
from authz.crls.acceptance import SignedCrl
from authz.crls.disk_store import FetchRecord
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.fair_queue import Party, TurnQueue
from authz.crls.fetch.client import Fetcher, NotModified
from authz.crls.fetch.transfer_quota import Claim
from authz.crls.reader import Index, issuer_in, read_crl
from authz.crls.rules import CrlRules
from authz.crls.sources import ACCEPTED, UNCHANGED, CrlSource
from authz.crls.store import CrlRegistry
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

Authorities = Callable[[], Awaitable[Collection[bytes]]]
"""Every known CA certificate, in DER. Raises `Refused` (directory_unavailable)."""


class RefreshAttempts:
    """Tries sources, each in its turn.

    `quota` says how many bytes a source may give, `delivered` is called with a source whose CRL is held.
    """

    def __init__(
        self,
        registry: CrlRegistry,
        fetcher: Fetcher,
        index: Index,
        clock: Clock,
        *,
        authorities: Authorities,
        quota: Callable[[CrlSource], int],
        delivered: Callable[[CrlSource], None],
    ) -> None:
        self._registry = registry
        self._fetcher = fetcher
        self._index = index
        self._clock = clock
        self._authorities = authorities
        self._quota = quota
        self._delivered = delivered
        # Organizations' points keep no URL of the operator's waiting, nor the other way round.
        self._points, self._urls = TurnQueue(), TurnQueue()
        self._copies = asyncio.Semaphore(MAX_COPIES)
        self._folders: dict[Path, asyncio.Semaphore] = {}
        self._large = WeakValueDictionary[Party, asyncio.Lock]()

    async def run(self, source: CrlSource) -> None:
        """Try `source`, whose state says afterwards what came of it."""
        async with self._turn(source) as party:
            try:
                charged = source.location if party is None else party
                await self._try(source, charged, partial(self._index_in_turn, charged))
                self._delivered(source)
            except FetchFailed as failure:
                source.failed(failure.kind, failure.detail, self._clock.now())
                if failure.kind is FailureKind.UNUSABLE:
                    self._delivered(source)
            except Refused as refusal:
                source.failed(FailureKind.STORAGE, f"the directory: {refusal}", self._clock.now())

    def look(self, source: CrlSource) -> None:
        """Another organization names a source that waits for its turn, or a check waits for it."""
        self._queue_of(source).look(source)

    async def _index_in_turn(self, party: Party, source: Path | int, keys: Collection[bytes]) -> Crl:
        """One at a time for each party, so that those that wait for a process that reads large CRLs take turns."""
        turn = self._large.get(party) or asyncio.Lock()
        self._large[party] = turn
        async with turn:
            return await self._index(source, keys)

    def _turn(self, source: CrlSource) -> contextlib.AbstractAsyncContextManager[Party | None]:
        if source.kind is CrlSourceKind.FILE:
            return self._folders.setdefault(Path(source.location).parent, asyncio.Semaphore(MAX_FILES_EACH))
        return self._queue_of(source).turn(source)

    def _queue_of(self, source: CrlSource) -> TurnQueue:
        return self._points if source.kind is CrlSourceKind.POINT else self._urls

    async def _try(self, source: CrlSource, party: Party, index: Index) -> None:
        if source.kind is CrlSourceKind.FILE:
            await self._try_file(source, index)
        else:
            await self._try_url(source, party, index)

    async def _try_file(self, source: CrlSource, index: Index) -> None:
        path = await self._copied(Path(source.location))
        try:
            origin = FetchRecord(source.location, None, None, self._clock.now(), named=True)
            await self._accept(source, path, origin, index)
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _copied(self, path: Path) -> Path:
        """A copy of the file; see `watched_files.copy_file`."""
        folder, limit = self._registry.folder, self._fetcher.limits.size
        async with self._copies:
            copy = run_in_daemon_thread(lambda: watched_files.copy_file(path, folder, limit), f"copy {path}")
            try:
                await asyncio.wait({copy}, timeout=COPY_SECONDS)
            except asyncio.CancelledError:
                copy.cancel()
                raise
        return await copy

    async def _try_url(self, source: CrlSource, party: Party, index: Index) -> None:
        last = self._registry.stored(source.sha256)
        # What is not held any more cannot be "not modified"; nor is that believed of what should have been replaced.
        current = (
            last is not None
            and not last.crl.unusable
            and (last.crl.next_update or self._clock.now()) >= self._clock.now()
        )
        validators = source.validators if current else None
        claim = Claim(party, max((copy.size for copy in self._registry.of(source.location)), default=0))
        async with self._fetcher.fetch(source.location, self._registry.folder, validators, claim) as answer:
            now = self._clock.now()
            given, named = answer.validators, source.kind is not CrlSourceKind.POINT
            origin = FetchRecord(source.location, given.etag, given.last_modified, now, named=named)
            if isinstance(answer, NotModified):
                await self._registry.touch(source.location, origin)
                source.succeeded(UNCHANGED, now)
                return
            same = self._registry.stored(answer.sha256)
            if same is not None:
                # Byte for byte what is held: a server without validators, or the second of two that give the same,
                # costs a transfer, and no indexing.
                if not same.origin.url:
                    await self._registry.hand_over("", {answer.sha256: source.location})
                await self._registry.touch(source.location, origin)
                source.issuer, source.claimed = same.crl.issuer, None
                _check_usable(same.signed)
                source.succeeded(UNCHANGED, now)
            else:
                quota = self._quota(source)
                if answer.size > quota:
                    detail = f"{answer.size} bytes, and its organization's distribution points may hold {quota} more"
                    raise FetchFailed(FailureKind.TOO_LARGE, detail)
                await self._accept(source, answer.path, origin, index)
            source.validators, source.sha256 = given, answer.sha256

    async def _accept(self, source: CrlSource, path: Path, origin: FetchRecord, index: Index) -> None:
        """Raises `FetchFailed`, or `Refused` when the directory cannot say which CAs are known."""
        source.validators = None
        source.claimed = await asyncio.to_thread(issuer_in, path)
        signers = self._registry.signers
        named = [der for authorities in source.authorities.values() for der in authorities.values()]
        try:
            signed, key = await read_crl(path, named or await self._authorities(), index, signers)
        except FetchFailed as failure:
            if failure.kind is not FailureKind.SIGNER_UNKNOWN or not named:
                raise
            # The signer of an indirect CRL has a certificate that stands on no path that leads to it.
            signed, key = await read_crl(path, await self._authorities(), index, signers)
        now = self._clock.now()
        changed, problem = await self._registry.accept(path, signed, replace(origin, signer=key), now)
        source.issuer, source.claimed = signed.crl.issuer, None
        _check_usable(signed)
        if problem:
            # It is held, but would not survive a restart: reported, and tried again.
            source.failed(FailureKind.STORAGE, problem, now)
            source.note(accepted_at=now)
        else:
            source.succeeded(ACCEPTED if changed else UNCHANGED, now, signed.known_as)


def _check_usable(signed: SignedCrl) -> None:
    """Raises `FetchFailed` (unusable) for a CRL that is held as evidence alone: the source owes a better one."""
    if signed.crl.unusable:
        detail = f"{signed.known_as} has {signed.crl.unusable}: what it lists is revoked, and it replaces no other CRL"
        raise FetchFailed(FailureKind.UNUSABLE, detail)


class RefreshJobs:
    """At most one job for each source. `outcomes` counts the tries by kind and outcome.

    `refused` are the sources whose last answer was refused; the registry's `on_change` is called when these are others,
    or what is known of one of them. `warn` reports defects.
    """

    def __init__(
        self,
        rules: CrlRules,
        registry: CrlRegistry,
        attempts: RefreshAttempts,
        *,
        clock: Clock,
        chance: Callable[[], float],
        warn: Callable[[str], None],
    ) -> None:
        self._rules = rules
        self._registry = registry
        self._attempts = attempts
        self._clock = clock
        self._chance = chance
        self._warn = warn
        self.outcomes: Counter[tuple[CrlSourceKind, str]] = Counter()
        self.refused: set[CrlSource] = set()

    def of(self, source: CrlSource, *, awaited: bool = False) -> asyncio.Task[None]:
        """The job of a source, which may be under way already; `awaited` says that a check waits for it."""
        source.awaited |= awaited
        if source.job is not None:
            self.look(source)
        else:
            source.job = asyncio.create_task(self._run(source), name="trying a source of CRLs")
            source.job.add_done_callback(self.report_defect)
        return source.job

    def look(self, source: CrlSource) -> None:
        """Another organization names a source, or a check waits for it: its turn may come earlier."""
        self._attempts.look(source)

    def report_defect(self, task: asyncio.Task[None]) -> bool:
        """Whether a task ended by a defect of ours, which must not end in silence."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._warn(f"{task.get_name()} failed: {type(error).__name__}")
        return error is not None

    def forget(self, source: CrlSource) -> None:
        """The source is gone: what it was refused for counts no more."""
        source.gone = True
        self.refused.discard(source)
        self._registry.on_change()

    async def close(self, sources: Collection[CrlSource]) -> None:
        """End the jobs of these sources."""
        jobs = [source.job for source in sources if source.job is not None]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _run(self, source: CrlSource) -> None:
        # Whatever becomes of this, it is not tried at every tick, nor waited for by every check.
        now = self._clock.now()
        planned = now + self._rules.schedule.floor
        source.note(tried_at=now, next_at=planned)
        published, known = self._published(source), source.known
        try:
            await self._attempts.run(source)
            self.outcomes[source.kind, source.state.outcome] += 1
            if source.kind is not CrlSourceKind.FILE or source.next_at is planned:
                source.next_at = self.next(source)
            # Else the file has become another than the one tried, which is noticed only once.
            if source.state.failures and source.known > known:
                # A path came meanwhile whose CA may have signed what was refused, and a check may wait for it.
                source.next_at = self._clock.now()
            if source.refused and not source.gone:
                self.refused.add(source)
            elif not source.state.failures:
                # A server that cannot be reached takes nothing back.
                self.refused.discard(source)
            if self._published(source) != published:
                self._registry.on_change()
        finally:
            source.job, source.late, source.awaited = None, False, False

    def _published(self, source: CrlSource) -> tuple[object, ...]:
        """What others know of a source: nothing, unless its last answer was refused (see `CrlManifest`)."""
        return (source.issuer, source.claimed) if source in self.refused else ()

    def next(self, source: CrlSource) -> datetime | None:
        """When to try again. A file that was read is looked at, and not tried, until it changes."""
        if source.kind is CrlSourceKind.FILE and not source.state.failures:
            return None
        crls = [copy.crl for copy in self._registry.given_by(source) if not copy.crl.unusable]
        first = min(crls, key=lambda crl: crl.next_update or crl.this_update, default=None)
        return self._rules.schedule.next_fetch(
            self._clock.now(),
            source.state.tried_at,
            None if first is None else first.this_update,
            None if first is None else first.next_update,
            source.state.failures,
            self._chance(),
        )
