"""One check, from question to answer: the first place that may wait, the only one that catches everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from authz.decision import Decision, Deny, Evidence, evaluate
from authz.errors import AuthzError, NotLoaded, Refused
from authz.host import canonical_host
from authz.model import CheckRequest
from authz.ports import Clock, Directory, Observer, Source
from authz.reasons import Reason
from authz.view import Listener

LOADS_EACH = 16
"""Rows of one pool that are loaded at once: others wait behind no more than these, milliseconds, whoever floods."""

UNPROVEN = 4
"""Of the free places a tenant's requests whose token is not verified yet take less than one part in so many."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one service takes on at once.

    `concurrent_checks` counts checks that wait for a row; beyond it the answer is 503 at once. Of these places one
    tenant may take as many as it leaves free (see `Service._place`). `loads` bounds how often one check may ask for a
    row: organization, user, registrations, anchors, CRLs and keys once each, and once more for a directory that changes
    meanwhile. `seconds` bounds the waiting, below the 400 ms that the shipped proxy configurations give one try.
    """

    concurrent_checks: int = 1024
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
        self._waiting_of: Counter[tuple[Hashable, bool]] = Counter()
        self._pools: dict[Hashable, _Pool] = {}

    async def check(self, check: CheckRequest, listener: Listener) -> Decision:
        """The decision about `check` at `listener`; never raises but for cancellation: whatever fails inside denies."""
        started = self._clock.monotonic()
        try:
            found = self._look(check, listener)
            decision = await self._wait(check, listener, found.key) if isinstance(found, NotLoaded) else found
        except Refused as refusal:
            decision = Deny(refusal.reason, refusal.detail, Evidence())
        except Exception as error:  # noqa: BLE001 - fail closed: the one place that catches everything, and denies
            for observer in self._observers:
                observer.failed(check, listener, error)
            decision = Deny(Reason.INTERNAL_ERROR, type(error).__name__, Evidence())
        seconds = self._clock.monotonic() - started
        for observer in self._observers:
            observer.decided(check, listener, decision, seconds)
        return decision

    async def _wait(self, check: CheckRequest, listener: Listener, key: Hashable) -> Decision:
        """Load what is missing, and start again with a fresh view and time."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._load_and_decide(check, listener, key)
        except TimeoutError:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE, f"no answer within {self._limits.seconds} s") from None

    def _look(self, check: CheckRequest, listener: Listener) -> Decision | NotLoaded:
        """The decision with what is at hand, or what is missing."""
        try:
            return evaluate(check, listener, self._directory.view(), self._clock.now())
        except NotLoaded as missing:
            return missing

    async def _load_and_decide(self, check: CheckRequest, listener: Listener, key: Hashable) -> Decision:
        for _ in range(self._limits.loads):
            found = await self._loaded(check, listener, key)
            if not isinstance(found, NotLoaded):
                return found
            key = found.key
        raise Refused(Reason.DIRECTORY_UNAVAILABLE, "the directory changes faster than it can be read")

    async def _loaded(self, check: CheckRequest, listener: Listener, key: Hashable) -> Decision | NotLoaded:
        """What the check finds once `key` was loaded, in its pool's turn."""
        with self._place(self._tenant_of(check, key), key), self._pool(key) as pool:
            if key in pool.loading:
                # Checks that want one row share its reading, and cost no turn.
                await self._load(key)
                return self._look(check, listener)
            waits = pool.turns.locked()
            async with self._turn(pool):
                if waits:
                    # Whoever was first may have loaded it; what is missing now may be another pool's.
                    found = self._look(check, listener)
                    if not isinstance(found, NotLoaded) or pool_of(found.key) != pool_of(key):
                        return found
                    key = found.key
                pool.loading.add(key)
                try:
                    await self._load(key)
                finally:
                    pool.loading.discard(key)
        return self._look(check, listener)

    def _tenant_of(self, check: CheckRequest, key: Hashable) -> Hashable:
        """Whose place a check takes that waits for `key`: an organization's, or before it is known that of its kind."""
        tenant: Hashable = getattr(key, "organization", 0)
        if not tenant:
            with contextlib.suppress(AuthzError):
                organization = self._directory.view().organization(canonical_host(check.host))
                tenant = 0 if organization is None else organization.id
        return tenant or type(key)

    @contextlib.contextmanager
    def _place(self, tenant: Hashable, key: Hashable) -> Iterator[None]:
        """A place among the checks that wait for `key`. Raises `Refused` (overloaded).

        A tenant gets one more only while it has fewer than are free, whatever it waits for (dynamic thresholds,
        Choudhury and Hahne 1998): alone it takes half of all, n of its kind leave 1/(n + 1) to everybody else. Of
        these places requests whose token is not verified yet, which anybody can send, take fewer than half.
        """
        free, accounts = self._limits.concurrent_checks - self._waiting, [(tenant, True)]
        if not getattr(key, "proven", True):
            accounts.append((tenant, False))
        if any(self._waiting_of[account] * (1 if account[1] else UNPROVEN) >= free for account in accounts):
            raise Refused(Reason.OVERLOADED, f"{self._waiting} checks wait already, too many of them this tenant's")
        self._waiting += 1
        self._waiting_of.update(accounts)
        try:
            yield
        finally:
            self._waiting -= 1
            self._waiting_of.subtract(accounts)
            for account in accounts:
                if not self._waiting_of[account]:
                    del self._waiting_of[account]

    @contextlib.contextmanager
    def _pool(self, key: Hashable) -> Iterator[_Pool]:
        """The pool of `key`, which is kept while checks are in it."""
        name = pool_of(key)
        pool = self._pools.setdefault(name, _Pool())
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
