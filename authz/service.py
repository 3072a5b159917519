"""One check, from request to decision: the only place that waits for rows, and that catches every exception."""

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
"""Concurrent row loads of one queue: a flood from one tenant delays the others by milliseconds at most."""

UNPROVEN = 4
"""Of the free places a tenant's requests whose token is not verified yet take less than one part in so many."""


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Bounds on the work of one service.

    `concurrent_checks` counts checks that wait for a row; one more is answered with 503 at once. One tenant may take
    as many of these places as it leaves free (see `Service._place`). `loads` bounds the rows that one check may ask
    for: organization, user, registrations, anchors, CRLs and keys once each, and again if the directory changes
    meanwhile. `seconds` bounds the waiting, below the 400 ms that the shipped proxy configurations allow one attempt.
    """

    concurrent_checks: int = 1024
    loads: int = 12
    seconds: float = 0.3


@dataclass(slots=True)
class TenantQueue:
    """The checks that wait for rows of one tenant, or of one kind before the tenant is known."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOADS_EACH))
    checks: int = 0
    loading: set[Hashable] = field(default_factory=set)


def queue_key(key: Hashable) -> Hashable:
    """The key of the queue that checks wait in for `key`: its `queue` (as a rule, its organization's), else its type.

    Hosts, of which anybody can send unknown ones, share the queue of their type.
    """
    return getattr(key, "queue", None) or type(key)


class Service:
    """Decides checks over a directory; safe to share by every listener of one event loop."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        *observers: Observer,
        sources: Sequence[Source] = (),
        limits: ServiceLimits | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._observers = observers
        self._sources = (directory, *sources)
        self._limits = limits or ServiceLimits()
        self._waiting = 0
        self._waiting_of: Counter[tuple[Hashable, bool]] = Counter()
        self._queues: dict[Hashable, TenantQueue] = {}

    async def check(self, check: CheckRequest, listener: Listener) -> Decision:
        """The decision about `check` at `listener`. Raises nothing but cancellation: an internal failure denies."""
        started = self._clock.monotonic()
        try:
            outcome = self._evaluate(check, listener)
            decision = await self._wait(check, listener, outcome.key) if isinstance(outcome, NotLoaded) else outcome
        except Refused as refusal:
            decision = Deny(refusal.reason, refusal.detail, Evidence())
        except Exception as error:  # noqa: BLE001 - fail closed: the one place that catches everything, and denies
            decision = self._failed(check, listener, error)
        seconds = self._clock.monotonic() - started
        for observer in self._observers:
            observer.decided(check, listener, decision, seconds)
        return decision

    def refuse(self, check: CheckRequest, listener: Listener, why: str | BaseException | None) -> Decision:
        """Refuse a request that no gate can decide about: `why` it is malformed, or the error that prevents it."""
        if isinstance(why, str):
            decision = Deny(Reason.REQUEST_MALFORMED, why, Evidence())
        else:
            decision = self._failed(check, listener, why or RuntimeError())
        for observer in self._observers:
            observer.decided(check, listener, decision, 0.0)
        return decision

    def _failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> Deny:
        for observer in self._observers:
            observer.failed(check, listener, error)
        return Deny(Reason.INTERNAL_ERROR, type(error).__name__, Evidence())

    async def _wait(self, check: CheckRequest, listener: Listener, key: Hashable) -> Decision:
        """Load the rows that are missing, and decide again with a fresh view and time."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._load_and_decide(check, listener, key)
        except TimeoutError:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE, f"no answer within {self._limits.seconds} s") from None

    def _evaluate(self, check: CheckRequest, listener: Listener) -> Decision | NotLoaded:
        """The decision from the rows at hand, or the row that is missing."""
        try:
            return evaluate(check, listener, self._directory.view(), self._clock.now())
        except NotLoaded as missing:
            return missing

    async def _load_and_decide(self, check: CheckRequest, listener: Listener, key: Hashable) -> Decision:
        for _ in range(self._limits.loads):
            outcome = await self._loaded(check, listener, key)
            if not isinstance(outcome, NotLoaded):
                return outcome
            key = outcome.key
        raise Refused(Reason.DIRECTORY_UNAVAILABLE, "the directory changes faster than it can be read")

    async def _loaded(self, check: CheckRequest, listener: Listener, key: Hashable) -> Decision | NotLoaded:
        """The outcome of the check after `key` was loaded in a slot of its queue."""
        with self._place(self._tenant_of(check, key), key), self._queue(key) as queue:
            if key in queue.loading:
                # Checks that want one row share its loading, and take no slot.
                await self._load(key)
                return self._evaluate(check, listener)
            waits = queue.slots.locked()
            async with self._slot(queue):
                if waits:
                    # A check ahead may have loaded it; the row that is missing now may belong to another queue.
                    outcome = self._evaluate(check, listener)
                    if not isinstance(outcome, NotLoaded) or queue_key(outcome.key) != queue_key(key):
                        return outcome
                    key = outcome.key
                queue.loading.add(key)
                try:
                    await self._load(key)
                finally:
                    queue.loading.discard(key)
        return self._evaluate(check, listener)

    def _tenant_of(self, check: CheckRequest, key: Hashable) -> Hashable:
        """The tenant that a check waiting for `key` counts for: its organization, or `key`'s type before that."""
        tenant: Hashable = getattr(key, "organization", 0)
        if not tenant:
            with contextlib.suppress(AuthzError):
                organization = self._directory.view().organization(canonical_host(check.host))
                tenant = 0 if organization is None else organization.id
        return tenant or type(key)

    @contextlib.contextmanager
    def _place(self, tenant: Hashable, key: Hashable) -> Iterator[None]:
        """A place among the checks that wait for `key`. Raises `Refused` (overloaded).

        A tenant gets another place only while it has fewer than are free, whatever it waits for (dynamic thresholds,
        Choudhury and Hahne 1998): one that floods takes half of all, n that flood leave 1/(n + 1) to all others. Of
        a tenant's places requests whose token is not verified yet, which anybody can send, take fewer than half.
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
    def _queue(self, key: Hashable) -> Iterator[TenantQueue]:
        """The queue for `key`, which is kept while checks are in it."""
        name = queue_key(key)
        queue = self._queues.setdefault(name, TenantQueue())
        queue.checks += 1
        try:
            yield queue
        finally:
            queue.checks -= 1
            if not queue.checks:
                del self._queues[name]

    @contextlib.asynccontextmanager
    async def _slot(self, queue: TenantQueue) -> AsyncIterator[None]:
        """A slot for loading a row. Raises `Refused` (overloaded) after half of the time that a check has."""
        try:
            async with asyncio.timeout(self._limits.seconds / 2):
                await queue.slots.acquire()
        except TimeoutError:
            raise Refused(Reason.OVERLOADED, "too many rows like this are being loaded") from None
        try:
            yield
        finally:
            queue.slots.release()

    async def _load(self, key: Hashable) -> None:
        for source in self._sources:
            if await source.load(key):
                return
        raise LookupError(f"no source loads {type(key).__name__}")
