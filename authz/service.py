"""One check, from request to decision: the only place that waits for rows, and that catches every exception."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from authz.deadline import Deadline
from authz.decision import Decision, Deny, Evidence, evaluate
from authz.errors import AuthzError, NotLoaded, Refused
from authz.host import canonical_host
from authz.model import CheckRequest, Organization
from authz.ports import Clock, Directory, Observer, Source
from authz.reasons import Reason
from authz.turns import Turns
from authz.view import Listener

LOADS_EACH = 32
"""Concurrent row loads of one queue, as many as the directory reads together: a flood from one tenant delays the others
by milliseconds at most.
"""

UNPROVEN = 4
"""Of the free places a tenant's requests whose token is not verified yet take less than one part in so many."""

TURN_PART = 0.9
"""Of the time that a check has, how much may be over while it waits to verify: what it needs then is near."""

Accounts = tuple[tuple[Hashable, bool], ...]
"""What a check that waits counts for: its tenant, and its tenant's requests whose token is not verified yet (False)."""


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Bounds on the work of one service.

    `concurrent_checks` counts checks that wait for a row; one more is answered with 503 at once. One tenant may take
    as many of these places as it leaves free (`Service._take_place`). `loads` bounds the rows that one check may ask
    for: organization, user, registrations, anchors, CRLs and keys once each, and again if the directory changes
    meanwhile; a turn to verify counts as one. `seconds` bounds the waiting, below the 400 ms that the shipped proxy
    configurations allow one attempt.
    """

    concurrent_checks: int = 1024
    loads: int = 12
    seconds: float = 0.3


@dataclass(frozen=True, slots=True)
class VerificationTurn:
    """What a check lacks that is to verify a new certificate of `organization` while others do."""

    organization: int


@dataclass(slots=True)
class TenantQueue:
    """The checks that wait for rows of one tenant, or of one kind before the tenant is known."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LOADS_EACH))
    checks: int = 0
    loading: set[Hashable] = field(default_factory=set)


def queue_key(key: Hashable) -> Hashable:
    """The key of the queue that checks wait in for `key`: its own `queue`, its organization's for rows, or its type.

    Unknown hosts, of which anybody can send any number, share the queue of their type.
    """
    organization = getattr(key, "organization", 0)
    return getattr(key, "queue", None) or (("rows", organization) if organization else type(key))


def decide(
    check: CheckRequest,
    listener: Listener,
    directory: Directory,
    clock: Clock,
    take_turn: Callable[[Organization], None] | None = None,
) -> Decision | NotLoaded:
    """The decision from the rows at hand, or what is missing; caches a header whose path verified.

    `take_turn` as for `authz.decision.evaluate`. Raises `Refused` if the directory cannot be used, and what only a
    defect raises.
    """
    view, evidence = directory.view(), Evidence()
    try:
        return evaluate(check, listener, view, clock.now(), evidence, take_turn)
    except NotLoaded as missing:
        # That one's frames, and those of what it was raised from, lead to the check that waits with it: a cycle.
        return NotLoaded(missing.key)
    finally:
        if evidence.decoded is not None and evidence.organization is not None:
            view.decode_cache(evidence.organization).put(*evidence.decoded)


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
        self._waiting_of: dict[tuple[Hashable, bool], int] = {}
        self._queues: dict[Hashable, TenantQueue] = {}
        self._turns = Turns()

    async def check(self, check: CheckRequest, listener: Listener) -> Decision:
        """The decision about `check` at `listener`. Raises nothing but cancellation: an internal failure denies."""
        started = self._clock.monotonic()
        try:
            outcome = self._decided(check, listener)
            decision = await self._wait(check, listener, outcome.key) if isinstance(outcome, NotLoaded) else outcome
        except Exception as error:  # noqa: BLE001 - fail closed: here and below everything is caught, and denies
            decision = self._denial(check, listener, error)
        return self._observed(check, listener, decision, self._clock.monotonic() - started)

    def check_at_once(self, check: CheckRequest, listener: Listener) -> Decision | None:
        """The decision from the rows at hand, as `check` makes it; None, unobserved, if it must wait for anything."""
        started = self._clock.monotonic()
        try:
            outcome = self._decided(check, listener)
            if isinstance(outcome, NotLoaded):
                return None
            decision: Decision = outcome
        except Exception as error:  # noqa: BLE001 - fail closed, as above
            decision = self._denial(check, listener, error)
        return self._observed(check, listener, decision, self._clock.monotonic() - started)

    def refuse(self, check: CheckRequest, listener: Listener, why: str | BaseException | None) -> Decision:
        """Refuse a request that no gate can decide about: `why` it is malformed, or the error that prevents it."""
        if isinstance(why, str):
            decision = Deny(Reason.REQUEST_MALFORMED, why, Evidence())
        else:
            decision = self._denial(check, listener, why or RuntimeError())
        return self._observed(check, listener, decision, 0.0)

    def _observed(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> Decision:
        """The decision, made in `seconds`, after every observer received it."""
        for observer in self._observers:
            observer.decided(check, listener, decision, seconds)
        return decision

    def _denial(self, check: CheckRequest, listener: Listener, error: BaseException) -> Deny:
        """The denial for an error that no gate raised: a refusal's own reason, or an internal failure."""
        if isinstance(error, Refused):
            return Deny(error.reason, error.detail, Evidence())
        for observer in self._observers:
            observer.failed(check, listener, error)
        return Deny(Reason.INTERNAL_ERROR, type(error).__name__, Evidence())

    async def _wait(self, check: CheckRequest, listener: Listener, key: Hashable) -> Decision:
        """Load the rows that are missing, and decide again with a fresh view and time."""
        try:
            with Deadline(self._limits.seconds):
                return await self._load_and_decide(check, listener, key)
        except TimeoutError:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE, f"no answer within {self._limits.seconds} s") from None

    async def _load_and_decide(self, check: CheckRequest, listener: Listener, key: Hashable) -> Decision:
        turn_until = asyncio.get_running_loop().time() + self._limits.seconds * TURN_PART
        for _ in range(self._limits.loads):
            if isinstance(key, VerificationTurn):
                outcome = await self._in_turn(check, listener, key, turn_until)
            else:
                outcome = await self._loaded(check, listener, key)
            if not isinstance(outcome, NotLoaded):
                return outcome
            key = outcome.key
        raise Refused(Reason.DIRECTORY_UNAVAILABLE, "the directory changes faster than it can be read")

    def _decided(self, check: CheckRequest, listener: Listener) -> Decision | NotLoaded:
        return decide(check, listener, self._directory, self._clock, self._take_turn)

    def _take_turn(self, organization: Organization) -> None:
        if not self._turns.take():
            raise NotLoaded(VerificationTurn(organization.id))

    async def _in_turn(
        self, check: CheckRequest, listener: Listener, key: VerificationTurn, until: float
    ) -> Decision | NotLoaded:
        """The outcome of the check in its turn to verify. Raises `Refused` (overloaded) if it has none `until` then."""
        accounts = self._take_place(key.organization, key)
        try:
            with Deadline(until - asyncio.get_running_loop().time()):
                await self._turns.wait(key.organization)
        except TimeoutError:
            raise Refused(Reason.OVERLOADED, "too many new certificates are being verified") from None
        finally:
            self._leave_place(accounts)
        return decide(check, listener, self._directory, self._clock)

    async def _loaded(self, check: CheckRequest, listener: Listener, key: Hashable) -> Decision | NotLoaded:
        """The outcome of the check after `key` was loaded in a slot of its queue."""
        accounts = self._take_place(self._tenant_of(check, key), key)
        name = queue_key(key)
        queue = self._queues.get(name) or self._queues.setdefault(name, TenantQueue())
        queue.checks += 1
        try:
            if key in queue.loading:
                # Checks that want one row share its loading, and take no slot.
                await self._load(key)
            elif (outcome := await self._load_in_slot(check, listener, key, queue)) is not None:
                return outcome
        finally:
            queue.checks -= 1
            if not queue.checks:
                del self._queues[name]
            self._leave_place(accounts)
        return self._decided(check, listener)

    async def _load_in_slot(
        self, check: CheckRequest, listener: Listener, key: Hashable, queue: TenantQueue
    ) -> Decision | NotLoaded | None:
        """Load `key` in a slot of the queue; the outcome if the check need not wait for it any more."""
        waits = queue.slots.locked()
        await (self._turn(queue) if waits else queue.slots.acquire())
        try:
            if waits:
                # A check ahead may have loaded it; the row that is missing now may belong to another queue.
                outcome = self._decided(check, listener)
                if not isinstance(outcome, NotLoaded):
                    return outcome
                # Who needs a turn to see whether the row is there loads it: to leave the slot for that would never end.
                if not isinstance(outcome.key, VerificationTurn):
                    if queue_key(outcome.key) != queue_key(key):
                        return outcome
                    key = outcome.key
            queue.loading.add(key)
            try:
                await self._load(key)
            finally:
                queue.loading.discard(key)
        finally:
            queue.slots.release()
        return None

    async def _turn(self, queue: TenantQueue) -> None:
        """Wait for a slot, and take it. Raises `Refused` (overloaded) after half of the time that a check has."""
        try:
            with Deadline(self._limits.seconds / 2):
                await queue.slots.acquire()
        except TimeoutError:
            raise Refused(Reason.OVERLOADED, "too many rows like this are being loaded") from None

    def _tenant_of(self, check: CheckRequest, key: Hashable) -> Hashable:
        """The tenant that a check waiting for `key` counts for: its organization, or `key`'s type before that."""
        tenant: Hashable = getattr(key, "organization", 0)
        if not tenant:
            with contextlib.suppress(AuthzError):
                organization = self._directory.view().organization(canonical_host(check.host))
                tenant = 0 if organization is None else organization.id
        return tenant or type(key)

    def _take_place(self, tenant: Hashable, key: Hashable) -> Accounts:
        """A place among the checks that wait for `key`, and what it counts for. Raises `Refused` (overloaded).

        A tenant gets another place only while it has fewer than are free, whatever it waits for (dynamic thresholds,
        Choudhury and Hahne 1998): one that floods takes half of all, n that flood leave 1/(n + 1) to all others. Of
        a tenant's places requests whose token is not verified yet, which anybody can send, take fewer than half.
        """
        free, taken = self._limits.concurrent_checks - self._waiting, self._waiting_of
        accounts: Accounts = ((tenant, True),) if getattr(key, "proven", True) else ((tenant, True), (tenant, False))
        for account in accounts:
            if taken.get(account, 0) * (1 if account[1] else UNPROVEN) >= free:
                detail = f"{self._waiting} checks wait already, too many of them this tenant's"
                raise Refused(Reason.OVERLOADED, detail)
        self._waiting += 1
        for account in accounts:
            taken[account] = taken.get(account, 0) + 1
        return accounts

    def _leave_place(self, accounts: Accounts) -> None:
        self._waiting -= 1
        for account in accounts:
            self._waiting_of[account] -= 1
            if not self._waiting_of[account]:
                del self._waiting_of[account]

    async def _load(self, key: Hashable) -> None:
        for source in self._sources:
            if await source.load(key):
                return
        raise LookupError(f"no source loads {type(key).__name__}")
