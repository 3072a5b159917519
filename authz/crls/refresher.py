"""Keeps the CRLs fresh: those of the directory, of the operator's files and URLs, and of distribution points.

Implements `authz.ports.CrlView` (what checks look at), `Source` (what they wait for at first sight) and
`Observer` (which paths verified, and so where their CRLs come from). A distribution point is asked only
once a path that names it has satisfied RFC 5280 section 6.1: anybody can write a URL into a certificate,
but not have a CA of ours sign it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from authz.crls.directory_crls import CrlLoader, CrlRows
from authz.crls.flights import Flights
from authz.crls.load_keys import CrlsKey, Noted, PointsKey
from authz.crls.overdue_alerts import Lateness, warn_of_exemptions
from authz.crls.quota import check_room, room_for
from authz.crls.reader import Index, Lanes, index_octets
from authz.crls.refresh_job import Trials
from authz.crls.refusals import modes_for
from authz.crls.retention import Tenancy, Tenants
from authz.crls.revisions import Revisions
from authz.crls.rules import CrlRules
from authz.crls.source import Source
from authz.crls.sources import Sources, urls_of
from authz.crls.store import Copy, Library, answering
from authz.crls.watched_files import Files
from authz.errors import NotLoaded, Refused
from authz.model import CheckRequest, CrlSourceKind, CrlSourceState, FetchedCrl, Organization
from authz.pki import Certificate, CrlStore, ModeOf
from authz.ports import Clock

if TYPE_CHECKING:
    from authz.crls.acceptance import Held
    from authz.crls.disk_store import Keep
    from authz.crls.fetch.client import Fetcher
    from authz.decision import Decision
    from authz.view import Listener

TICK_SECONDS: Final = 0.5
"""How often files are looked at, and whether a source is due."""

READ_SECONDS: Final = 1.0
"""How long a start waits for the copies that were kept: workers that hear nothing for 2 seconds refuse everybody."""

START_SECONDS: Final = 20.0
"""How long readiness waits for the first try of each configured source."""

RESTART_SECONDS: Final = 5.0
"""How long after a defect the refreshing goes on."""


def _nothing() -> None:
    """For a refresher whose CRLs nobody else wants, or whose kept ones."""


class Rows(CrlRows, Tenants, Protocol):
    """The directory, as far as CRLs are concerned: `authz.directory.DirectoryReader`."""


class Ledger(Protocol):
    """Where operators look up how the sources fare, and ask for a try: `authz.directory.CrlStatusTables`."""

    async def write(self, sources: Collection[CrlSourceState], crls: Collection[FetchedCrl]) -> None:
        """What there is now, in the place of what was written before; a failure is the ledger's own to tell."""
        ...

    async def asked(self) -> list[str]:
        """The locations that somebody wants to be tried now; a failure is the ledger's own to tell."""
        ...


class Refresher:
    """Made inside the event loop and started once the directory can be read; `close` gives everything back.

    `index` makes CRLs of files (see `authz.crls.reader`), `warn` is told what the operator should mend.
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
        patience: float = READ_SECONDS,
    ) -> None:
        self._rules = rules
        self._keep = keep
        self._fetcher = fetcher
        self._clock = clock
        self._warn = warn
        self._tick, self._patience = tick, patience
        self._index = Lanes(index)
        self._library = Library(keep, self._index, warn)
        self._sources = Sources(rules.urls, rules.points_each, warn)
        self._library.check_room = lambda copy, replaced, others: check_room(
            copy, replaced, others, self._sources, rules
        )
        self._tenancy = Tenancy(keep, self._library, self._sources, self._forget_point)
        self._library.organizations_of = self._tenancy.organizations_of
        self._rows: Rows | None = None
        self._added: list[Copy] = []
        self._store: CrlStore | None = None
        self._held: list[Held] = []
        self._noted = Noted(clock.monotonic)
        self._files = Files(rules.files, self._sources, self._forget, warn)
        self._ledger: Ledger | None = None
        self._loader: CrlLoader | None = None
        self._running: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready_at = 0.0
        self._written: object = None
        self._revisions = Revisions(clock.monotonic)
        self._lateness = Lateness(warn)
        self._flights = Flights(
            rules, self._library, clock=clock, chance=chance, changed=self._tell_of_change, warn=warn
        )
        self.outcomes = self._flights.outcomes
        self.changed: Callable[[], None] = _nothing
        self.all_read: Callable[[], None] = _nothing

    def _tell_of_change(self) -> None:
        self.changed()

    # -- life ------------------------------------------------------------------------------------------

    async def start(self, rows: Rows, ledger: Ledger | None = None) -> None:
        """Read what the directory and the folder hold, and begin to refresh it.

        What takes long to read of the folder is read on afterwards; `all_read` is called then.
        Raises `Refused` (directory_unavailable).
        """
        self._ledger, self._rows = ledger, rows
        loader = CrlLoader(
            rows,
            index=lambda der, key: index_octets(der, key, self._index),
            changed=self._publish,
            warn=self._warn,
        )
        self._flights.trials = Trials(
            self._library,
            self._fetcher,
            self._index,
            self._clock,
            max_octets=self._fetcher.limits.size,
            authorities=rows.authorities,
            others=lambda: list(loader),
            room=lambda source: room_for(source, self._library, self._sources, self._rules).kept,
            gave=lambda source: self._tenancy.gave(source, self._clock.now()),
            changed=self._publish,
        )
        await self._revisions.follow(loader)
        self._loader = loader
        await self._tenancy.remember(self._clock.now())
        await self._begin_to_read(rows)
        self._restore_what_was_read()
        await self._look_at_tenants()
        for source in self._sources:
            # At once, whatever was kept: it may have been revised meanwhile, and readiness waits for it.
            if source.kind is CrlSourceKind.URL:
                source.next_at = self._clock.now()
        self._publish()
        warn_of_exemptions(self._rules, self._warn)
        self._ready_at = self._clock.monotonic() + START_SECONDS
        self._begin()

    async def _begin_to_read(self, rows: Rows) -> None:
        """What was kept; one tenant's copies must not keep everybody's checks from what was read already."""
        due = self._clock.now() - self._rules.longest_grace
        await self._library.look_through(due)
        self._reading = asyncio.create_task(self._library.read(rows.authorities, due), name="reading kept CRLs")
        self._reading.add_done_callback(self._flights.tell_of_defects)
        self._reading.add_done_callback(lambda _: self.all_read())
        await asyncio.wait({self._reading}, timeout=self._patience)

    def _restore_what_was_read(self) -> bool:
        """Whether any kept copy was read since the last time."""
        found = self._library.read_lately()
        self._tenancy.restore(found, self._clock.now(), points=self._rules.points)
        return bool(found)

    def _begin(self) -> None:
        self._running = asyncio.create_task(self._run(), name="refreshing CRLs")
        self._running.add_done_callback(self._begin_again)

    def _begin_again(self, ended: asyncio.Task[None]) -> None:
        if self._flights.tell_of_defects(ended):
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self._begin)

    async def close(self) -> None:
        """Stop refreshing, and give the folder back."""
        tasks = [one.flight for one in self._sources if one.flight is not None]
        tasks += [one for one in (self._running, self._reading) if one is not None]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._files.close()
        await self._tenancy.write(self._clock.now())
        await self._revisions.close()
        await self._fetcher.close()
        self._keep.close()

    @property
    def ready(self) -> bool:
        """Whether each source that the operator named was tried once, or has had its time."""
        if self._running is None:
            return False
        named = (one for one in self._sources if one.kind is not CrlSourceKind.POINT)
        tried = self._files.looked and all(one.outcome for one in named)
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

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See `authz.view.View`."""
        return modes_for(self._rules, self._flights.refused, organization)

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.view.View.request_crls`."""
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
        self._revisions.read(revision)

    # -- what other processes look at ------------------------------------------------------------------------

    @property
    def held(self) -> Sequence[Held]:
        """Every CRL that checks may look at, with its signer; `changed` is called when it is another, or a refusal."""
        return self._held

    @property
    def refused(self) -> Collection[Source]:
        """The sources whose last answer was refused."""
        return self._flights.refused

    def current_at(self, confirmed: float) -> float | None:
        """The moment up to which the directory's CRLs were taken over; its revision was `confirmed` at that moment."""
        return self._revisions.current_at(confirmed)

    async def first_sight(self, organization: int, path: Sequence[bytes]) -> None:
        """As `request_crls` and `load` for another process's check. Raises `Refused` for a path that cannot be read."""
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
        flights = [self._flights.of(one, awaited=True) for one in sources]
        if flights:
            await asyncio.wait(flights, timeout=self._rules.first_sight)
        for one in sources:
            # Whoever comes after need not wait for what is too slow.
            one.late = one.flight is not None
        return True

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:  # noqa: ARG002
        """See `authz.ports.Observer`: the distribution points of a path that verified will be asked in time."""
        unknown = self._noted.unknown_in(decision) if self._rules.points else None
        if unknown is not None:
            organization, path = unknown
            self._noted.add(organization, path)
            self._meet(organization.id, path.certificates)

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """See `authz.ports.Observer`: nothing is learned."""

    def _meet(self, organization: int, path: Iterable[Certificate]) -> list[Source]:
        path = list(path)
        before = self._refused_of(organization, path)
        news = self._sources.meet(organization, path)
        self._tenancy.met(organization, path, self._clock.now())
        if self._refused_of(organization, path) != before:
            self.changed()
        for one in news:
            one.next_at = self._clock.now()
            self._flights.look(one)
        return news

    def _refused_of(self, organization: int, path: list[Certificate]) -> list[str]:
        """The points of a path whose last answer was refused, and refused for that organization, too."""
        named = [self._sources.get(url) for url in urls_of(path)] if self._flights.refused else []
        return [one.location for one in named if one in self._flights.refused and organization in one.authorities]

    # -- refreshing ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._files.look(self._clock.now)
            now = self._clock.now()
            for one in await self._asked():
                one.next_at = now
            for one in self._sources:
                if one.next_at is None and one.kind is not CrlSourceKind.FILE:
                    one.next_at = self._flights.next(one)
                elif one.next_at is not None and one.next_at - now > self._rules.schedule.ceiling:
                    # The clock has gone back: what it told before would be a time without a try.
                    one.next_at = now
                if one.flight is None and one.next_at is not None and one.next_at <= now:
                    self._flights.of(one)
            news = self._restore_what_was_read()
            if await self._look_at_tenants() or news:
                self._publish()
            self._lateness.look([*self._library, *self._added], now)
            await self._write()
            await asyncio.sleep(self._tick)

    async def _asked(self) -> list[Source]:
        if self._ledger is None:
            return []
        return [one for location in await self._ledger.asked() if (one := self._sources.get(location)) is not None]

    async def _look_at_tenants(self) -> bool:
        """Let go of what is nobody's; whether any CRL went."""
        if self._rows is None:
            return False
        try:
            return await self._tenancy.look(self._rows, self._clock.now())
        except Refused:
            # The directory cannot be read now: nothing is let go of, and it is looked at again.
            return False

    def _forget_point(self, source: Source) -> None:
        """No organization names it."""
        self._sources.remove(source)
        if source.flight is not None:
            source.flight.cancel()
        self._forget(source)

    def _forget(self, source: Source) -> None:
        """A source is none any more: what it was refused for counts no more either."""
        source.gone = True
        self._flights.refused.discard(source)
        self.changed()

    async def _write(self) -> None:
        if self._ledger is None:
            return
        now = self.sources, self.fetched
        if now != self._written:
            await self._ledger.write(*now)
            self._written = now
