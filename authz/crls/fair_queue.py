"""Which source is tried next: organizations take turns, and so do those that wait for one server.

Nothing here is charged to whoever was first. A source that several organizations name waits in the queue of each, and
takes the first turn that any of them has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Hashable, Iterable
from typing import Final

from authz.crls.failures import FetchFailed
from authz.crls.fetch.url import parse_url
from authz.crls.source import Source

MAX_TRIALS: Final = 32
"""Sources that are tried at once."""

MAX_TRIALS_EACH: Final = 2
"""Of one organization's distribution points, each at another server; one while half of all tries are under way."""

MAX_TRIALS_SERVER: Final = 2
"""Of one server (host and port), each for another organization."""

Party = Hashable
"""An organization by its number; a source that no organization names is a party of its own, by its location."""


def server_of(location: str) -> Hashable:
    """The server (host, port) that a URL leads to, however it is spelled; a URL that is not asked stands for itself."""
    try:
        target = parse_url(location)
    except FetchFailed:
        return location
    return target.host, target.port


class Turns:
    """Made inside the event loop. The parties that wait have one try each in turn, at most `MAX_TRIALS` at once.

    Each party has at most `MAX_TRIALS_EACH` tries at once, one at each server, and one in all while half of all tries
    are under way; each server has `MAX_TRIALS_SERVER`, which go round the parties that wait for it. Among a party's own
    the servers take turns, and what a check waits for goes first.
    """

    def __init__(self) -> None:
        self._waiting: dict[Source, tuple[asyncio.Event, Hashable, set[Party]]] = {}
        self._under_way: dict[Source, tuple[Party, Hashable]] = {}
        self._busy: Counter[tuple[str, Hashable]] = Counter()
        # In the order of the turns: whose try begins, and whose try ends, goes to the end.
        self._parties: OrderedDict[Party, OrderedDict[Hashable, OrderedDict[Source, None]]] = OrderedDict()
        self._servers: dict[Hashable, dict[Party, None]] = {}

    @contextlib.asynccontextmanager
    async def turn(self, source: Source) -> AsyncIterator[Party]:
        """Wait for the turn of `source`, which ends with the block; whose it is."""
        granted = asyncio.Event()
        self._waiting[source] = granted, server_of(source.location), set()
        try:
            self.look(source)
            await granted.wait()
            yield self._under_way[source][0]
        finally:
            self._end(source)

    def look(self, source: Source) -> None:
        """Another organization names `source`, or a check waits for it (`source.awaited`)."""
        if source in self._waiting:
            _, server, parties = self._waiting[source]
            named: list[Party] = [*source.organizations] or [source.location]
            parties.update(named)
            for party in named:
                self._queue(party, server, source)
            self._deal(named)

    def _queue(self, party: Party, server: Hashable, source: Source) -> None:
        lanes = self._parties.setdefault(party, OrderedDict())
        lane = lanes.setdefault(server, OrderedDict())
        lane.setdefault(source)
        self._servers.setdefault(server, {}).setdefault(party)
        if source.awaited:
            lanes.move_to_end(server, last=False)
            lane.move_to_end(source, last=False)

    def _deal(self, parties: Iterable[Party]) -> None:
        """Begin the tries for which there is room now; `parties` are those that may have some."""
        for party in parties:
            while len(self._under_way) < MAX_TRIALS and (server := self._server_for(party)) is not None:
                self._begin(next(one for one in self._servers[server] if self._may(one, server)), server)

    def _server_for(self, party: Party) -> Hashable | None:
        """The server of which the party sees to it that it is asked, for whoever's turn it is there."""
        return next((one for one in self._parties.get(party, ()) if self._may(party, one)), None)

    def _begin(self, party: Party, server: Hashable) -> None:
        source = next(iter(self._parties[party][server]))
        granted = self._waiting[source][0]
        self._leave(source)
        self._under_way[source] = party, server
        self._busy.update(_counted(party, server))
        self._served(party, server)
        granted.set()

    def _served(self, party: Party, server: Hashable) -> None:
        """Whoever waits, for this server or any, goes before its next."""
        if party not in self._parties:
            return
        self._parties.move_to_end(party)
        lane = self._parties[party].get(server)
        if lane:
            self._servers[server][party] = self._servers[server].pop(party)
            if not next(iter(lane)).awaited:
                self._parties[party].move_to_end(server)

    @property
    def _each(self) -> int:
        return MAX_TRIALS_EACH if len(self._under_way) < MAX_TRIALS // 2 else 1

    def _may(self, party: Party, server: Hashable) -> bool:
        all_of, at, both = _counted(party, server)
        busy = self._busy
        return busy[all_of] < self._each and busy[at] < MAX_TRIALS_SERVER and not busy[both]

    def _leave(self, source: Source) -> None:
        """It waits no more, in any queue."""
        _, server, parties = self._waiting.pop(source)
        for party in parties:
            lanes = self._parties[party]
            del lanes[server][source]
            if not lanes[server]:
                del lanes[server], self._servers[server][party]
            if not lanes:
                del self._parties[party]
        if not self._servers[server]:
            del self._servers[server]

    def _end(self, source: Source) -> None:
        if source in self._waiting:
            self._leave(source)
            return
        scarce = len(self._under_way) >= MAX_TRIALS
        party, server = self._under_way.pop(source)
        for one in _counted(party, server):
            self._busy[one] -= 1
            if not self._busy[one]:
                del self._busy[one]
        self._served(party, server)
        if scarce:
            self._deal(list(self._parties))
            return
        # Nobody else waited for what has become free: this server, a try of this party, or second tries.
        first = next((one for one in self._servers.get(server, ()) if self._may(one, server)), None)
        if first is not None:
            self._begin(first, server)
        self._deal([*(one for one, _ in self._under_way.values()), party])


def _counted(party: Party, server: Hashable) -> tuple[tuple[str, Hashable], ...]:
    """What a try counts for."""
    return ("party", party), ("server", server), ("both", (party, server))
