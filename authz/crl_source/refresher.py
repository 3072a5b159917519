"""Keeps the CRLs fresh: those of the directory, of the operator's files and URLs, and of distribution points.

Implements `authz.ports.CrlView` (what checks look at), `Source` (what they wait for at first sight) and
`Observer` (which paths verified, and so where their CRLs come from). A distribution point is asked only
once a path that names it has satisfied RFC 5280 section 6.1: anybody can write a URL into a certificate,
but not have a CA of ours sign it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from authz.crl_source import folder
from authz.crl_source.library import Copy, Library, answering
from authz.crl_source.loader import CrlLoader, CrlRows
from authz.crl_source.reading import Index, index_octets
from authz.crl_source.refusals import lenient_of
from authz.crl_source.rules import CrlRules
from authz.crl_source.source import Source
from authz.crl_source.sources import Sources
from authz.crl_source.trial import Trials
from authz.errors import NotLoaded, Refused
from authz.model import CheckRequest, CrlSourceKind, CrlSourceState, FetchedCrl, Organization
from authz.pki import Certificate, Crl, CrlStore, Lenient
from authz.ports import Clock

if TYPE_CHECKING:
    from datetime import datetime

    from authz.crl_source.acceptance import Held
    from authz.crl_source.fetch import Fetcher
    from authz.crl_source.keep import Keep
    from authz.decision import Decision
    from authz.view import Door

TICK_SECONDS: Final = 0.5
"""How often files are looked at, and whether a source is due."""

START_SECONDS: Final = 20.0
"""How long readiness waits for the first try of each configured source."""

RESTART_SECONDS: Final = 5.0
"""How long after a defect the refreshing goes on."""

MAX_INDEXERS: Final = 2
"""Processes that read large CRLs at once."""

MAX_OCTETS_EACH: Final = 512 * 1024 * 1024
"""Octets of the CRLs that one organization's distribution points may give: a dozen with a million entries each."""


def _nothing() -> None:
    """For a refresher whose CRLs nobody else wants."""


MAX_NOTED: Final = 100_000
"""Leaves of which it is remembered that the distribution points of their path are known; then all are met anew."""


class Rows(CrlRows, Protocol):
    """The directory, as far as CRLs are concerned: `authz.directory.DirectoryReader`."""

    async def authorities(self) -> list[bytes]:
        """Every organization's anchors and intermediates, in DER. Raises `Refused` (directory_unavailable)."""
        ...


class Ledger(Protocol):
    """Where operators look up how the sources fare, and ask for a try: `authz.directory.CrlLedger`."""

    async def write(self, sources: Collection[CrlSourceState], crls: Collection[FetchedCrl]) -> None:
        """What there is now, in the place of what was written before; a failure is the ledger's own to tell."""
        ...

    async def asked(self) -> list[str]:
        """The locations that somebody wants to be tried now; a failure is the ledger's own to tell."""
        ...


@dataclass(frozen=True, slots=True)
class PointsKey:
    """Distribution points that were not asked yet, on behalf of one organization."""

    organization: int
    urls: tuple[str, ...]

    @property
    def pool(self) -> Hashable:
        """The organization's checks that wait for CRLs; those that wait for rows are not held up by them."""
        return "points", self.organization


@dataclass(frozen=True, slots=True)
class CrlsKey:
    """All CRLs, before they were read for the first time."""


class Refresher:
    """Made inside the event loop and started once the directory can be read; `close` gives everything back.

    `index` makes CRLs of files (see `authz.crl_source.reading`), `warn` is told what the operator should mend.
    """

    def __init__(
        self,
        rules: CrlRules,
        keep: Keep,
        fetcher: Fetcher,
        *,
        clock: Clock,
        index: Index,
        warn: Callable[[str], None],
        chance: Callable[[], float] = random.random,
        tick: float = TICK_SECONDS,
    ) -> None:
        self._rules = rules
        self._keep = keep
        self._fetcher = fetcher
        self._clock = clock
        self._warn = warn
        self._chance = chance
        self._tick = tick
        self._indexers = asyncio.Semaphore(MAX_INDEXERS)
        self._index_alone = index
        self._library = Library(keep, self._index, warn)
        self._sources = Sources(rules.urls, rules.points_each, warn)
        self._added: list[Copy] = []
        self._store: CrlStore | None = None
        self._held: list[Held] = []
        self._noted: set[tuple[int, bytes]] = set()
        self._stamps: dict[Path, folder.Stamp | None] = {}
        self._looked = not rules.files
        self._ledger: Ledger | None = None
        self._loader: CrlLoader | None = None
        self._trials: Trials | None = None
        self._revision: Hashable = None
        self._bringing: asyncio.Task[None] | None = None
        self._behind_since: float | None = None
        self._running: asyncio.Task[None] | None = None
        self._ready_at = 0.0
        self._written: object = None
        self._late: set[str] = set()
        self._refused: set[Source] = set()
        self.outcomes: Counter[tuple[CrlSourceKind, str]] = Counter()
        self.changed: Callable[[], None] = _nothing

    # -- life ------------------------------------------------------------------------------------------

    async def start(self, rows: Rows, ledger: Ledger | None = None) -> None:
        """Read what the directory and the folder hold, and begin to refresh it.

        Raises `Refused` (directory_unavailable).
        """
        self._ledger = ledger
        loader = CrlLoader(
            rows,
            index=lambda der, key: index_octets(der, key, self._index),
            changed=self._publish,
            warn=self._warn,
        )
        self._trials = Trials(
            self._library,
            self._fetcher,
            self._index,
            self._clock,
            max_octets=self._fetcher.limits.size,
            authorities=rows.authorities,
            others=lambda: list(loader),
            room=self._room,
            changed=self._publish,
        )
        await loader.bring(self._revision)
        await loader.settled()
        self._loader = loader
        await self._library.load(rows.authorities, self._clock.now(), self._rules.longest_grace)
        for one in self._library:
            self._sources.restore(one.origin, one.held.crl, points=self._rules.points)
        for source in self._sources:
            # At once, whatever was kept: it may have been revised meanwhile, and readiness waits for it.
            if source.kind is CrlSourceKind.URL:
                source.next_at = self._clock.now()
        self._publish()
        self._warn_of_leniency()
        self._ready_at = self._clock.monotonic() + START_SECONDS
        self._begin()

    def _begin(self) -> None:
        self._running = asyncio.create_task(self._run(), name="refreshing CRLs")
        self._running.add_done_callback(self._begin_again)

    def _begin_again(self, ended: asyncio.Task[None]) -> None:
        if self._tell_of_defects(ended):
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self._begin)

    async def close(self) -> None:
        """Stop refreshing, and give the folder back."""
        tasks = [one.flight for one in self._sources if one.flight is not None]
        tasks += [one for one in (self._running, self._bringing) if one is not None]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._loader is not None:
            await self._loader.close()
        await self._fetcher.close()
        self._keep.close()

    @property
    def ready(self) -> bool:
        """Whether each source that the operator named was tried once, or has had its time."""
        if self._running is None:
            return False
        named = (one for one in self._sources if one.kind is not CrlSourceKind.POINT)
        tried = self._looked and all(one.outcome for one in named)
        return tried or self._clock.monotonic() >= self._ready_at

    @property
    def sources(self) -> list[CrlSourceState]:
        """How every source fares."""
        return [one.state for one in self._sources]

    @property
    def fetched(self) -> list[FetchedCrl]:
        """The CRLs held that came from sources."""
        return [one.state for one in self._library]

    @property
    def answering(self) -> list[FetchedCrl]:
        """The CRLs held that no newer one supersedes, from sources and from the directory."""
        return [one.state for one in answering((*self._library, *self._added))]

    async def _index(self, source: Path | int, keys: Collection[bytes]) -> Crl:
        async with self._indexers:
            return await self._index_alone(source, keys)

    def _room(self, source: Source) -> int:
        """Octets that a source may give: one tenant's CRLs must not fill the disk that all share."""
        if source.owner is None:
            return MAX_OCTETS_EACH
        given = [(one.octets, self._sources.get(one.origin.url)) for one in self._library]
        others = [(octets, by) for octets, by in given if by is not None and by is not source and by.owner is not None]
        # By whoever has most room: an organization that names another's point must not take its own limit there.
        return MAX_OCTETS_EACH - min(
            sum(octets for octets, by in others if organization in by.authorities)
            for organization in source.authorities
        )

    def _publish(self) -> None:
        held: list[Held] = [one.held for one in self._library]
        if self._loader is not None:
            before = {one.held.crl.sha256: one for one in self._added}
            self._added = [before.get(one.crl.sha256) or Copy.added(one) for one in self._loader]
            held += self._loader
        self._held = held
        self._store = CrlStore((one.crl for one in held), {one.crl.sha256: one.signer for one in held})
        self.changed()

    # -- what checks look at -----------------------------------------------------------------------------

    def crls(self) -> CrlStore:
        """See `authz.ports.CrlView`."""
        if self._store is None:
            raise NotLoaded(CrlsKey())
        return self._store

    def lenient(self, organization: Organization) -> Lenient | None:
        """See `authz.view.View`."""
        return lenient_of(self._rules, self._refused, organization)

    def seek(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.view.View.seek_crls`."""
        urls = self._worth_a_wait(organization.id, path)
        if urls:
            raise NotLoaded(PointsKey(organization.id, urls))

    def _worth_a_wait(self, organization: int, path: Iterable[bytes]) -> tuple[str, ...]:
        if not self._rules.points or self._running is None:
            return ()
        news = self._meet(organization, [Certificate.parse(one) for one in path])
        return tuple(one.location for one in news if not one.late)

    def directory_read(self, revision: Hashable) -> None:
        """See `authz.ports.CrlView`."""
        self._revision = revision
        if self._loader is None or self._loader.revision == revision:
            self._behind_since = None
            return
        if self._behind_since is None:
            self._behind_since = self._clock.monotonic()
        if self._bringing is None or self._bringing.done():
            # Beside the directory's reader: many new CRLs must not make the revision look unconfirmed.
            self._bringing = asyncio.create_task(self._bring(self._loader), name="CRLs of the directory")

    async def _bring(self, loader: CrlLoader) -> None:
        began = self._clock.monotonic()
        with contextlib.suppress(Refused):
            await loader.bring(self._revision)
            # What was there when it began is taken over; what came meanwhile is next.
            self._behind_since = None if loader.revision == self._revision else began

    # -- what other processes look at ------------------------------------------------------------------------

    @property
    def held(self) -> Sequence[Held]:
        """Every CRL that checks may look at, with its signer; `changed` is called when it is another, or a refusal."""
        return self._held

    @property
    def refused(self) -> Collection[Source]:
        """The sources whose last answer was refused."""
        return self._refused

    def current_at(self, confirmed: float) -> float | None:
        """The moment up to which the directory's CRLs were taken over; its revision was `confirmed` at that moment."""
        if self._loader is None:
            return None
        return confirmed if self._behind_since is None else min(confirmed, self._behind_since)

    async def first_sight(self, organization: int, path: Sequence[bytes]) -> None:
        """As `seek` and `load` for a check of another process. Raises `Refused` for a path that cannot be read."""
        urls = self._worth_a_wait(organization, path)
        if urls:
            await self.load(PointsKey(organization, urls))

    def met(self, organization: int, path: Sequence[bytes]) -> None:
        """As `decided`, for a path (DER, leaf first) that verified in another process."""
        if self._rules.points:
            self._meet(organization, [Certificate.parse(one) for one in path])

    # -- what checks wait for, and what they tell -----------------------------------------------------------

    async def load(self, key: Hashable) -> bool:
        """See `authz.ports.Source`: waits for the first try of distribution points, though not for long."""
        if isinstance(key, CrlsKey):
            return True
        if not isinstance(key, PointsKey):
            return False
        sources = [one for url in key.urls if (one := self._sources.get(url)) is not None]
        flights = [self._try(one) for one in sources]
        if flights:
            await asyncio.wait(flights, timeout=self._rules.first_sight)
        for one in sources:
            # Whoever comes after need not wait for what is too slow.
            one.late = one.flight is not None
        return True

    def decided(self, check: CheckRequest, door: Door, decision: Decision, seconds: float) -> None:  # noqa: ARG002
        """See `authz.ports.Observer`: the distribution points of a path that verified will be asked in time."""
        organization, path = decision.evidence.organization, decision.evidence.path
        if path is None or organization is None or not self._rules.points:
            return
        leaf = organization.id, path.leaf.sha256
        if leaf in self._noted:
            return
        if len(self._noted) >= MAX_NOTED:
            self._noted.clear()
        self._noted.add(leaf)
        self._meet(organization.id, path.certificates)

    def failed(self, check: CheckRequest, door: Door, error: BaseException) -> None:
        """See `authz.ports.Observer`: nothing is learned."""

    def _meet(self, organization: int, path: Iterable[Certificate]) -> list[Source]:
        news = self._sources.meet(organization, list(path))
        if self._refused and not self._rules.hard:
            # A source that was refused may count for one more organization now.
            self.changed()
        for one in news:
            one.next_at = self._clock.now()
        return news

    # -- refreshing ------------------------------------------------------------------------------------------

    def _try(self, source: Source) -> asyncio.Task[None]:
        """The try of a source that is under way, or a new one."""
        if source.flight is None:
            source.flight = asyncio.create_task(self._run_trial(source), name="trying a source of CRLs")
            source.flight.add_done_callback(self._tell_of_defects)
        return source.flight

    def _tell_of_defects(self, task: asyncio.Task[None]) -> bool:
        """Whether a task ended by a defect of ours, which must not end in silence."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._warn(f"{task.get_name()} failed: {type(error).__name__}")
        return error is not None

    async def _run_trial(self, source: Source) -> None:
        assert self._trials is not None  # noqa: S101 - nothing is tried before the start
        # Whatever becomes of this, it is not tried at every look, nor waited for by every check.
        source.tried_at = self._clock.now()
        source.next_at = source.tried_at + self._rules.schedule.floor
        try:
            await self._trials.run(source)
            self.outcomes[source.kind, source.outcome] += 1
            source.next_at = self._next(source)
            if source.refused:
                self._refused.add(source)
            elif not source.failures:
                # A server that is away takes nothing back.
                self._refused.discard(source)
            self.changed()
        finally:
            source.flight, source.late = None, False

    def _next(self, source: Source) -> datetime | None:
        """When to try again. A file that was read is looked at, and not tried, until it changes."""
        if source.kind is CrlSourceKind.FILE and not source.failures:
            return None
        # Two sources may give the same: it came from one of them last.
        last = self._library.kept(source.sha256)
        given = [one.held.crl for one in self._library.of(source.location) or ([] if last is None else [last])]
        first = min(given, key=lambda one: one.next_update or one.this_update, default=None)
        return self._rules.schedule.next_fetch(
            self._clock.now(),
            source.tried_at,
            None if first is None else first.this_update,
            None if first is None else first.next_update,
            source.failures,
            self._chance(),
        )

    async def _run(self) -> None:
        while True:
            await self._look_at_files()
            now = self._clock.now()
            for one in await self._asked():
                one.next_at = now
            for one in self._sources:
                if one.next_at is None and one.kind is not CrlSourceKind.FILE:
                    one.next_at = self._next(one)
                elif one.next_at is not None and one.next_at - now > self._rules.schedule.ceiling:
                    # The clock has gone back: what it told before would be a time without a try.
                    one.next_at = now
                if one.flight is None and one.next_at is not None and one.next_at <= now:
                    self._try(one)
            self._tell_of_late_ones(now)
            await self._write()
            await asyncio.sleep(self._tick)

    async def _asked(self) -> list[Source]:
        if self._ledger is None:
            return []
        return [one for location in await self._ledger.asked() if (one := self._sources.get(location)) is not None]

    async def _look_at_files(self) -> None:
        if not self._rules.files:
            return
        found = await asyncio.to_thread(folder.scan, self._rules.files)
        for path, stamp in found.items():
            if self._stamps.get(path, ()) != stamp:
                self._sources.file(path).next_at = self._clock.now()
        for path in self._stamps.keys() - found.keys():
            gone = self._sources.file(path)
            self._sources.remove(gone)
            self._refused.discard(gone)
            self.changed()
        self._stamps = found
        self._looked = True

    async def _write(self) -> None:
        if self._ledger is None:
            return
        now = self.sources, self.fetched
        if now != self._written:
            await self._ledger.write(*now)
            self._written = now

    def _tell_of_late_ones(self, now: datetime) -> None:
        """Once for each CRL: that its nextUpdate has passed, which has no fractions of a second."""
        now = now.replace(microsecond=0)
        held, late = [*self._library, *self._added], dict[str, str]()
        if any(_is_late(one, now) for one in held):
            late = {one.name: one.held.known_as for one in answering(held) if _is_late(one, now)}
        for name in late.keys() - self._late:
            self._warn(f"{late[name]} is out of date, and nothing newer has come")
        self._late = set(late)

    def _warn_of_leniency(self) -> None:
        soft = [one for one in self._rules.exceptions if one.leniency.soft]
        if self._rules.leniency.soft:
            self._warn("unsafe_soft_fail is on: certificates pass whose revocation nobody knows")
        for one in soft:
            whose = "everybody" if one.issuer is None else one.issuer.text
            self._warn(f"unsafe_soft_fail is on for {whose}: its certificates pass when their revocation is unknown")


def _is_late(one: Copy, now: datetime) -> bool:
    return one.held.crl.next_update is not None and one.held.crl.next_update < now
