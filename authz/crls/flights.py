"""The tries of sources that are under way, one of each; what comes of them, and when the next is due."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from authz.crls.refresh_job import Trials
from authz.crls.rules import CrlRules
from authz.crls.source import Source
from authz.crls.store import Library
from authz.model import CrlSourceKind
from authz.ports import Clock


class Flights:
    """`trials` are what is made of a source. Nothing is tried before they are there.

    `outcomes` counts the tries by kind and outcome, `refused` are the sources whose last answer was refused; `changed`
    is called when these are others, or what is known of one of them. `warn` is told of defects.
    """

    def __init__(
        self,
        rules: CrlRules,
        library: Library,
        *,
        clock: Clock,
        chance: Callable[[], float],
        changed: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self._rules = rules
        self._library = library
        self._clock = clock
        self._chance = chance
        self._changed = changed
        self._warn = warn
        self.trials: Trials | None = None
        self.outcomes: Counter[tuple[CrlSourceKind, str]] = Counter()
        self.refused: set[Source] = set()

    def of(self, source: Source, *, awaited: bool = False) -> asyncio.Task[None]:
        """The try of a source that is under way, or a new one; `awaited` says that a check waits for it."""
        source.awaited |= awaited
        if source.flight is not None:
            self.look(source)
        else:
            source.flight = asyncio.create_task(self._run(source), name="trying a source of CRLs")
            source.flight.add_done_callback(self.tell_of_defects)
        return source.flight

    def look(self, source: Source) -> None:
        """Another organization names a source, or a check waits for it: its turn may come earlier."""
        if self.trials is not None:
            self.trials.look(source)

    def tell_of_defects(self, task: asyncio.Task[None]) -> bool:
        """Whether a task ended by a defect of ours, which must not end in silence."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._warn(f"{task.get_name()} failed: {type(error).__name__}")
        return error is not None

    async def _run(self, source: Source) -> None:
        assert self.trials is not None  # noqa: S101 - nothing is tried before the start
        # Whatever becomes of this, it is not tried at every look, nor waited for by every check.
        source.tried_at = self._clock.now()
        planned = source.next_at = source.tried_at + self._rules.schedule.floor
        told, known = self._told_of(source), source.known
        try:
            await self.trials.run(source)
            self.outcomes[source.kind, source.outcome] += 1
            if source.kind is not CrlSourceKind.FILE or source.next_at is planned:
                source.next_at = self.next(source)
            # Else the file has become another than the one tried, which is told only once.
            if source.failures and source.known > known:
                # A path came meanwhile whose CA may have signed what was refused, and a check may wait for it.
                source.next_at = self._clock.now()
            if source.refused and not source.gone:
                self.refused.add(source)
            elif not source.failures:
                # A server that is away takes nothing back.
                self.refused.discard(source)
            if self._told_of(source) != told:
                self._changed()
        finally:
            source.flight, source.late, source.awaited = None, False, False

    def _told_of(self, source: Source) -> tuple[object, ...]:
        """What others know of a source: nothing, unless its last answer was refused (see `Listed`)."""
        return (source.issuer, source.claimed) if source in self.refused else ()

    def next(self, source: Source) -> datetime | None:
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
