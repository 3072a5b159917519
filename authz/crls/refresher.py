"""Keeps the CRLs fresh: those of the directory, of the operator's files and URLs, and of distribution points.

Implements `authz.ports.CrlView` (what checks look at), `Source` (what they wait for at first sight) and
`Observer` (which paths verified, and so where their CRLs come from). A distribution point is asked only
once a path that names it has satisfied RFC 5280 section 6.1: everyone can write a URL into a certificate,
but not have a known CA sign it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from authz.crls.directory_crls import CrlRows, RevisionFollower
from authz.crls.load_keys import CrlsKey, PointsKey, ReportedPaths
from authz.crls.overdue_alerts import OverdueAlerts
from authz.crls.quota import check_quota, quota_for
from authz.crls.reader import Index, Lanes, index_bytes
from authz.crls.refresh_job import RefreshAttempts, RefreshJobs
from authz.crls.retention import Retention, Tenants
from authz.crls.rules import CrlRules, modes_of
from authz.crls.sources import CrlSource, CrlSources, urls_of
from authz.crls.store import CrlRegistry, answering
from authz.crls.watched_files import WatchedFiles
from authz.errors import NotLoaded, Refused
from authz.model import CheckRequest, CrlSourceKind, CrlSourceState, FetchedCrl, Organization
from authz.pki import Certificate, CrlStore, ModeOf
from authz.ports import Clock

if TYPE_CHECKING:
    from authz.crls.acceptance import SignedCrl
    from authz.crls.disk_store import CrlDiskStore
    from authz.crls.fetch.client import Fetcher
    from authz.decision import Decision
    from authz.view import Listener

TICK_SECONDS: Final = 0.5
"""How often files are looked at, and whether a source is due."""

READ_SECONDS: Final = 1.0
"""How long a start waits for the copies that were kept: workers that hear nothing for 2 seconds refuse everything."""

START_SECONDS: Final = 20.0
"""How long readiness waits for the first try of each configured source."""

RESTART_SECONDS: Final = 5.0
"""How long after a defect the refreshing goes on."""


class DirectoryRows(CrlRows, Tenants, Protocol):
    """The directory, as far as CRLs are concerned: `authz.directory.DirectoryReader`."""


class StatusLedger(Protocol):
    """Where operators look up the state of the sources, and ask for a try: `authz.directory.CrlStatusTables`.

    A failure is the ledger's own to report.
    """

    async def write(self, sources: Collection[CrlSourceState], crls: Collection[FetchedCrl]) -> None:
        """What there is now, in the place of what was written before."""
        ...

    async def asked(self) -> list[str]:
        """The locations that an operator wants to be tried now."""
        ...

    @property
    def renumbered(self) -> Mapping[str, datetime]:
        """By their locations sources whose CA counts anew, as `asked` read it last: see `CrlRegistry.renumbered`."""
        ...


class Refresher:
    """Made inside the event loop and started once the directory can be read; `close` gives everything back.

    `CrlSources` says what to ask, `RefreshJobs` asks it, `CrlRegistry` holds what was accepted. `index` makes CRLs of
    files (see `authz.crls.reader`), `warn` reports what the operator should mend.
    """

    def __init__(
        self,
        rules: CrlRules,
        disk: CrlDiskStore,
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
        self._clock = clock
        self._tick, self._patience = tick, patience
        index = Lanes(index)
        self._registry = registry = CrlRegistry(disk, index, warn)
        self._sources = sources = CrlSources(rules.urls, rules.points_each, warn)
        registry.check_quota = lambda copy, replaced, staying: check_quota(copy, replaced, staying, sources, rules)
        self._retention = Retention(disk, registry, sources, self._forget_point)
        registry.organizations_of = self._retention.organizations_of
        attempts = RefreshAttempts(
            registry,
            fetcher,
            index,
            clock,
            authorities=self._retention.authorities,
            quota=lambda source: quota_for(source, registry, sources, rules).kept,
            delivered=lambda source: self._retention.delivered(source, clock.now()),
        )
        self._jobs = RefreshJobs(rules, registry, attempts, clock=clock, chance=chance, warn=warn)
        self._files = WatchedFiles(rules.files, sources, self._jobs.forget, warn)
        index_added = partial(index_bytes, index=index)
        self._directory = RevisionFollower(clock.monotonic, index_added, registry.replace_added, warn)
        self._reported = ReportedPaths(clock.monotonic)
        self._alerts = OverdueAlerts(warn)
        self._ledger: StatusLedger | None = None
        self._written: object = None
        self._running: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ready_at = 0.0

    # -- life ------------------------------------------------------------------------------------------

    async def start(self, rows: DirectoryRows, ledger: StatusLedger | None = None) -> None:
        """Read what the directory and the folder hold, and begin to refresh it.

        What takes long to read of the folder is read on afterwards.
        Raises `Refused` (directory_unavailable).
        """
        self._ledger = ledger
        await self._directory.start(rows)
        await self._retention.remember(rows, self._clock.now())
        await self._begin_to_read(rows)
        self._restore_what_was_read()
        await self._look_at_tenants()
        for source in self._sources:
            # At once, whatever was kept: it may have been revised meanwhile, and readiness waits for it.
            if source.kind is CrlSourceKind.URL:
                source.next_at = self._clock.now()
        self._registry.publish()
        self._alerts.warn_of_exemptions(self._rules)
        self._ready_at = self._clock.monotonic() + START_SECONDS
        self._begin()

    async def _begin_to_read(self, rows: DirectoryRows) -> None:
        """What was kept; one tenant's copies must not keep every check from what was read already."""
        due = self._clock.now() - self._rules.longest_grace
        await self._registry.look_through(due)
        self._reading = asyncio.create_task(self._registry.read(rows.authorities, due), name="reading kept CRLs")
        self._reading.add_done_callback(self._jobs.report_defect)
        self._reading.add_done_callback(lambda _: self._registry.on_all_read())
        await asyncio.wait({self._reading}, timeout=self._patience)

    def _restore_what_was_read(self) -> bool:
        """Whether any kept copy was read since the last time."""
        copies = self._registry.read_lately()
        self._retention.restore(copies, self._clock.now(), points=self._rules.points)
        return bool(copies)

    def _begin(self) -> None:
        self._running = asyncio.create_task(self._run(), name="refreshing CRLs")
        self._running.add_done_callback(self._begin_again)

    def _begin_again(self, ended: asyncio.Task[None]) -> None:
        if self._jobs.report_defect(ended):
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self._begin)

    async def close(self) -> None:
        """Stop refreshing, and give the folder back."""
        tasks = [task for task in (self._running, self._reading) if task is not None]
        for task in tasks:
            task.cancel()
        # Together: what waits for a kept copy to be read would otherwise go on once the reading ends.
        await self._jobs.close(list(self._sources))
        await asyncio.gather(*tasks, return_exceptions=True)
        self._files.close()
        await self._retention.write(self._clock.now())
        await self._directory.close()
        self._registry.close()

    @property
    def ready(self) -> bool:
        """Whether each source that the operator named was tried once, or has had its time."""
        if self._running is None:
            return False
        named = (source for source in self._sources if source.kind is not CrlSourceKind.POINT)
        tried = self._files.looked and all(source.state.outcome for source in named)
        return tried or self._clock.monotonic() >= self._ready_at

    @property
    def sources(self) -> list[CrlSourceState]:
        """The state of every source."""
        return [source.state for source in self._sources]

    @property
    def fetched(self) -> list[FetchedCrl]:
        """The CRLs held that came from sources."""
        return [copy.state for copy in self._registry]

    @property
    def answering(self) -> list[FetchedCrl]:
        """The CRLs held that no newer one supersedes, from sources and from the directory."""
        return [copy.state for copy in answering(self._registry.everything())]

    @property
    def outcomes(self) -> Counter[tuple[CrlSourceKind, str]]:
        """How many tries ended how, by kind of source."""
        return self._jobs.outcomes

    # -- what checks look at -----------------------------------------------------------------------------

    def crls(self) -> CrlStore:
        """See `authz.ports.CrlView`."""
        if self._registry.crls is None:
            raise NotLoaded(CrlsKey())
        return self._registry.crls

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See `authz.view.View`."""
        return modes_of(self._rules, self._jobs.refused, organization)

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.view.View.request_crls`."""
        urls = self._worth_a_wait(organization.id, path)
        if urls:
            raise NotLoaded(PointsKey(organization.id, urls))

    def _worth_a_wait(self, organization: int, path: Sequence[bytes]) -> tuple[str, ...]:
        if not self._rules.points or self._running is None:
            return ()
        sources = self._meet(organization, [Certificate.parse(der) for der in path])
        return tuple(source.location for source in sources if not source.late)

    def directory_read(self, revision: Hashable) -> None:
        """See `authz.ports.CrlView`."""
        self._directory.read(revision)

    # -- what other processes look at ------------------------------------------------------------------------

    def set_on_change(self, on_change: Callable[[], None]) -> None:
        """Have `on_change` called whenever `held` or `refused` is another."""
        self._registry.on_change = on_change

    def set_on_all_read(self, on_all_read: Callable[[], None]) -> None:
        """Have `on_all_read` called when every kept copy was read, or the reading was given up."""
        self._registry.on_all_read = on_all_read

    @property
    def held(self) -> Sequence[SignedCrl]:
        """Every CRL that checks may look at, with its signer."""
        return self._registry.held

    @property
    def refused(self) -> Collection[CrlSource]:
        """The sources whose last answer was refused."""
        return self._jobs.refused

    def current_at(self, confirmed: float) -> float | None:
        """The moment up to which the directory's CRLs were taken over; its revision was `confirmed` at that moment."""
        return self._directory.current_at(confirmed)

    async def fetch_first(self, organization: int, path: Sequence[bytes]) -> None:
        """As `request_crls` and `load`, for a check of another process. Raises `Refused` for an unreadable path."""
        urls = self._worth_a_wait(organization, path)
        if urls:
            await self.load(PointsKey(organization, urls))

    def path_seen(self, organization: int, path: Sequence[bytes]) -> None:
        """As `decided`, for a path (DER, leaf first) that verified in another process."""
        if self._rules.points:
            self._meet(organization, [Certificate.parse(der) for der in path])

    # -- what checks wait for, and what they report ----------------------------------------------------------

    async def load(self, key: Hashable) -> bool:
        """See `authz.ports.Source`: waits for the first try of distribution points, though not for long."""
        if isinstance(key, CrlsKey):
            return True
        if not isinstance(key, PointsKey):
            return False
        sources = [source for url in key.urls if (source := self._sources.get(url)) is not None]
        jobs = [self._jobs.of(source, awaited=True) for source in sources]
        if jobs:
            await asyncio.wait(jobs, timeout=self._rules.first_fetch_wait)
        for source in sources:
            # The checks that come after need not wait for what is too slow.
            source.late = source.job is not None
        return True

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:  # noqa: ARG002
        """See `authz.ports.Observer`: the distribution points of a path that verified will be asked in time."""
        unknown = self._reported.unknown_in(decision) if self._rules.points else None
        if unknown is not None:
            organization, path = unknown
            self._reported.add(organization, path)
            self._meet(organization.id, list(path.certificates))

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """See `authz.ports.Observer`: nothing is learned."""

    def _meet(self, organization: int, path: list[Certificate]) -> list[CrlSource]:
        before = self._refused_of(organization, path)
        sources = self._sources.meet(organization, path)
        self._retention.path_seen(organization, path, self._clock.now())
        if self._refused_of(organization, path) != before:
            self._registry.on_change()
        for source in sources:
            source.next_at = self._clock.now()
            self._jobs.look(source)
        return sources

    def _refused_of(self, organization: int, path: list[Certificate]) -> list[str]:
        """The points of a path whose last answer was refused, and refused for that organization, too."""
        refused = self._jobs.refused
        sources = [self._sources.get(url) for url in urls_of(path)] if refused else []
        return [source.location for source in sources if source in refused and organization in source.authorities]

    # -- refreshing ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._files.look(self._clock.now)
            now = self._clock.now()
            for source in await self._asked():
                source.next_at = now
            for source in self._sources:
                self._begin_if_due(source, now)
            news = self._restore_what_was_read()
            await self._look_at_tenants()
            if news:
                self._registry.publish()
            self._alerts.look(self._registry.everything(), now)
            await self._write()
            await asyncio.sleep(self._tick)

    def _begin_if_due(self, source: CrlSource, now: datetime) -> None:
        if source.next_at is None and source.kind is not CrlSourceKind.FILE:
            source.next_at = self._jobs.next(source)
        elif source.next_at is not None and source.next_at - now > self._rules.schedule.ceiling:
            # The clock has gone back: the time set before would be a time without a try.
            source.next_at = now
        if source.job is None and source.next_at is not None and source.next_at <= now:
            self._jobs.of(source)

    async def _asked(self) -> list[CrlSource]:
        if self._ledger is None:
            return []
        locations = await self._ledger.asked()
        self._registry.renumbered = self._ledger.renumbered
        return [source for location in locations if (source := self._sources.get(location)) is not None]

    async def _look_at_tenants(self) -> None:
        # While the directory cannot be read nothing is let go of, and it is looked at again.
        with contextlib.suppress(Refused):
            await self._retention.look(self._clock.now())

    def _forget_point(self, source: CrlSource) -> None:
        """No organization names it."""
        self._sources.remove(source)
        if source.job is not None:
            source.job.cancel()
        self._jobs.forget(source)

    async def _write(self) -> None:
        status = self.sources, self.fetched
        if self._ledger is not None and status != self._written:
            await self._ledger.write(*status)
            self._written = status
