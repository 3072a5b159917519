"""One check, from question to answer: the first place that may wait, the only one that catches everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from authz.decision import Decision, Deny, Evidence, evaluate
from authz.errors import NotLoaded, Refused
from authz.model import CheckRequest
from authz.ports import Clock, Directory, Observer, Source
from authz.reasons import Reason
from authz.view import Door

LOADS_EACH = 16
"""Rows of one pool that are loaded at once: others wait behind no more than these, milliseconds, whoever floods."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one service takes on at once.

    `concurrent_checks` counts checks that wait for a row, `concurrent_each` those that wait for rows of one
    pool (see `pool_of`): half of all by default; beyond either the answer is 503 at once. `loads`
    bounds how often one check may ask for a row: organization, user, registrations, anchors, CRLs and
    keys once each, and once more for a directory that changes meanwhile. `seconds` bounds the waiting,
    below the 400 ms that the shipped proxy configurations give one try.
    """

    concurrent_checks: int = 1024
    concurrent_each: int = 512
    loads: int = 12
    seconds: float = 0.3


@dataclass(slots=True)
class _Pool:
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOADS_EACH))
    checks: int = 0
    loading: set[Hashable] = field(default_factory=set)


def pool_of(key: Hashable) -> Hashable:
    """Who waits together for rows like `key`: whoever its `pool` says, an organization's checks say; else its kind's.

    Unknown hosts, which anybody can ask for, are such a kind.
    """
    return getattr(key, "pool", None) or type(key)


class Service:
    """Decides checks over a directory; safe to share by every listener of one event loop."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        *observers: Observer,
        sources: Sequence[Source] = (),
        limits: Limits | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._observers = observers
        self._sources = (directory, *sources)
        self._limits = limits or Limits()
        self._waiting = 0
        self._pools: dict[Hashable, _Pool] = {}

    async def check(self, check: CheckRequest, door: Door) -> Decision:
        """The decision about `check` at `door`; never raises but for cancellation: whatever fails inside denies."""
        started = self._clock.monotonic()
        try:
            found = self._look(check, door)
            decision = await self._wait(check, door, found.key) if isinstance(found, NotLoaded) else found
        except Refused as refusal:
            decision = Deny(refusal.reason, refusal.detail, Evidence())
        except Exception as error:  # noqa: BLE001 - fail closed: the one place that catches everything, and denies
            for observer in self._observers:
                observer.failed(check, door, error)
            decision = Deny(Reason.INTERNAL_ERROR, type(error).__name__, Evidence())
        seconds = self._clock.monotonic() - started
        for observer in self._observers:
            observer.decided(check, door, decision, seconds)
        return decision

    async def _wait(self, check: CheckRequest, door: Door, key: Hashable) -> Decision:
        """Load what is missing, and start again with a fresh view and time."""
        if self._waiting >= self._limits.concurrent_checks:
            raise Refused(Reason.OVERLOADED, f"{self._waiting} checks wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._load_and_decide(check, door, key)
        except TimeoutError:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE, f"no answer within {self._limits.seconds} s") from None
        finally:
            self._waiting -= 1

    def _look(self, check: CheckRequest, door: Door) -> Decision | NotLoaded:
        """The decision with what is at hand, or what is missing."""
        try:
            return evaluate(check, door, self._directory.view(), self._clock.now())
        except NotLoaded as missing:
            return missing

    async def _load_and_decide(self, check: CheckRequest, door: Door, key: Hashable) -> Decision:
        for _ in range(self._limits.loads):
            found = await self._loaded(check, door, key)
            if not isinstance(found, NotLoaded):
                return found
            key = found.key
        raise Refused(Reason.DIRECTORY_UNAVAILABLE, "the directory changes faster than it can be read")

    async def _loaded(self, check: CheckRequest, door: Door, key: Hashable) -> Decision | NotLoaded:
        """What the check finds once `key` was loaded, in its pool's turn."""
        with self._place(key) as pool:
            if key in pool.loading:
                # Checks that want one row share its reading, and cost no turn.
                await self._load(key)
                return self._look(check, door)
            waits = pool.turns.locked()
            async with self._turn(pool):
                if waits:
                    # Whoever was first may have loaded it; what is missing now may be another pool's.
                    found = self._look(check, door)
                    if not isinstance(found, NotLoaded) or pool_of(found.key) != pool_of(key):
                        return found
                    key = found.key
                pool.loading.add(key)
                try:
                    await self._load(key)
                finally:
                    pool.loading.discard(key)
        return self._look(check, door)

    @contextlib.contextmanager
    def _place(self, key: Hashable) -> Iterator[_Pool]:
        """A place among the checks of the pool of `key`. Raises `Refused` (overloaded)."""
        name = pool_of(key)
        pool = self._pools.setdefault(name, _Pool())
        if pool.checks >= self._limits.concurrent_each:
            raise Refused(Reason.OVERLOADED, f"{pool.checks} checks wait for rows like this already")
        pool.checks += 1
        try:
            yield pool
        finally:
            pool.checks -= 1
            if not pool.checks:
                del self._pools[name]

    @contextlib.asynccontextmanager
    async def _turn(self, pool: _Pool) -> AsyncIterator[None]:
        """A turn to load. Whoever waited for half of his time is refused (overloaded): he would load for nobody."""
        try:
            async with asyncio.timeout(self._limits.seconds / 2):
                await pool.turns.acquire()
        except TimeoutError:
            raise Refused(Reason.OVERLOADED, "too many rows like this are being loaded") from None
        try:
            yield
        finally:
            pool.turns.release()

    async def _load(self, key: Hashable) -> None:
        for source in self._sources:
            if await source.load(key):
                return
        raise LookupError(f"no source loads {type(key).__name__}")
