"""One check from question to answer: loading, bounds, and that whatever fails denies."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from types import FrameType
from typing import Any

import pytest
from support.certificates import NOW, Authority
from support.decision_world import (
    ACME,
    ALICE,
    BOB,
    CA,
    EVIL_ALICE,
    EVIL_CA,
    REVOKED,
    STRANGER,
    MemoryView,
    Says,
    request,
    standard_view,
)

from authz import decision
from authz.crls.load_keys import PointsKey
from authz.decision import Allow, Decision, Deny
from authz.directory.reader import HostKey, RegistrationsKey, TrustKey, UserKey
from authz.errors import NotLoaded, Refused
from authz.headers import decode, present
from authz.identity.keys import JwksKey
from authz.model import CheckRequest, Organization, PresentedChain, User
from authz.reasons import Reason
from authz.service import LOADS_EACH, Service, ServiceLimits, queue_key
from authz.turns import Turns
from authz.view import Listener

DOOR = Listener("test", (Says("alice"),))
OLGA = Listener("test", (Says("olga"),))
CHECK = request(ALICE, CA)
OTHER = CA.leaf("other")
FOREIGN = Authority.root("Foreign").leaf("foreign")
LOWER = CA.intermediate("Lower")
BELOW = LOWER.leaf("below")
MALFORMED = request(headers=((b"x-forwarded-client-cert", present(b"\x30\x03\x02\x01\x01", [CA.der])),))
LEAVES = {"bob": BOB, "stranger": STRANGER, "revoked": REVOKED, "evil alice": EVIL_ALICE, "other": OTHER}
NAMES = {leaf.sha256: name for name, leaf in LEAVES.items()}


class Clock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """The moment."""
        return NOW

    def monotonic(self) -> float:
        """The counter."""
        return 0.0


class Observer:
    """Remembers what it observed."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.errors: list[BaseException] = []

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:
        """Remember a decision."""
        self.decisions.append(decision)

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """Remember a failure."""
        self.errors.append(error)


class Directory:
    """A directory over a view in memory; `on_load` says what loading a key does."""

    def __init__(self, view: MemoryView, on_load: Callable[[Hashable], None] | None = None) -> None:
        self.held = view
        self.loaded: list[Hashable] = []
        self.on_load = on_load or self.held.missing.discard
        self.gate: asyncio.Event | None = None

    def view(self) -> MemoryView:
        """The view."""
        return self.held

    async def load(self, key: Hashable) -> bool:
        """Load a key."""
        self.loaded.append(key)
        if self.gate is not None:
            await self.gate.wait()
        self.on_load(key)
        return True


def service(directory: Directory, **limits: float) -> tuple[Service, Observer]:
    """A service and its observer."""
    observer = Observer()
    return Service(directory, Clock(), observer, limits=ServiceLimits(**limits)), observer  # type: ignore[arg-type]


def missing(*keys: Hashable) -> MemoryView:
    """The standard view without some rows."""
    view = standard_view()
    view.missing = set(keys)
    return view


HOST, USER = ("host", "acme.example.test"), ("user", "alice")


async def test_check_with_everything_at_hand_loads_nothing() -> None:
    """The usual case never waits."""
    directory = Directory(standard_view())
    checked, observer = service(directory)
    assert isinstance(await checked.check(CHECK, DOOR), Allow)
    assert directory.loaded == []
    assert len(observer.decisions) == 1


async def test_check_loads_what_is_missing_and_starts_again() -> None:
    """Row by row, each once."""
    directory = Directory(missing(HOST, USER))
    assert isinstance(await service(directory)[0].check(CHECK, DOOR), Allow)
    assert directory.loaded == [HOST, USER]


async def test_header_is_cached_only_once_its_path_verified() -> None:
    """Strangers fill nothing, and what is cached is no verdict."""
    directory = Directory(standard_view())
    checked = service(directory)[0]
    for chain in ((EVIL_ALICE,), (REVOKED, CA)):
        assert isinstance(await checked.check(request(*chain), OLGA), Deny)
    assert len(directory.held.memo) == 0
    assert isinstance(await checked.check(CHECK, DOOR), Allow)
    assert len(directory.held.memo) == 1
    assert isinstance(await checked.check(CHECK, OLGA), Allow)
    directory.held.registered = []
    assert isinstance(await checked.check(CHECK, DOOR), Deny)


async def test_header_is_decoded_once_where_a_row_is_missing_behind_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is with every new leaf, whose registrations are not at hand."""
    decoded: list[object] = []
    monkeypatch.setattr(decision, "decode", lambda *rules: decoded.append(rules) or decode(*rules))
    directory = Directory(missing("registrations"))
    assert isinstance(await service(directory)[0].check(CHECK, DOOR), Allow)
    assert directory.loaded == ["registrations"]
    assert len(decoded) == 1


async def test_check_at_once_decides_as_check_does_and_is_observed_once() -> None:
    """Allowed or refused; without a row it returns None, unobserved, and loads nothing."""
    directory = Directory(standard_view())
    checked, observer = service(directory)
    for asked in (CHECK, request(), request(ALICE)):
        # Of new certificates one is verified in each iteration of the loop.
        await asyncio.sleep(0)
        at_once, waited = checked.check_at_once(asked, DOOR), await checked.check(asked, DOOR)
        assert at_once is not None
        assert at_once[:2] == waited[:2]
    assert len(observer.decisions) == 6
    directory.held.missing = {USER}
    assert checked.check_at_once(CHECK, DOOR) is None
    assert (len(observer.decisions), directory.loaded) == (6, [])


async def test_one_new_certificate_is_verified_in_an_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait, the organizations in turns; what was verified before, and who shows nothing, does not."""
    verified: list[str] = []

    def noted(selected: Any, *rest: Any) -> tuple[PresentedChain, ...]:
        chain = decode(selected, *rest)
        verified.append(NAMES[chain[0].sha256])
        return chain

    checked, _ = service(Directory(standard_view()))
    assert isinstance(await checked.check(CHECK, DOOR), Allow)
    monkeypatch.setattr(decision, "decode", noted)
    await asyncio.sleep(0)
    assert checked.check_at_once(request(BOB, CA), DOOR) is not None
    flood = [request(leaf, CA) for leaf in (STRANGER, OTHER, REVOKED)]
    assert [checked.check_at_once(one, DOOR) for one in flood] == [None] * 3
    assert isinstance(checked.check_at_once(CHECK, DOOR), Allow)
    assert isinstance(checked.check_at_once(request(), DOOR), Deny)
    evil = request(EVIL_ALICE, EVIL_CA, host="evil.example.test")
    asked = [asyncio.create_task(checked.check(one, DOOR)) for one in (*flood, evil)]
    reasons = [one.reason for one in await asyncio.gather(*asked) if isinstance(one, Deny)]
    await asyncio.sleep(0)
    assert verified == ["bob", "stranger", "other", "evil alice", "revoked"]
    assert reasons == [Reason.CERTIFICATE_NOT_REGISTERED] * 2 + [Reason.CERTIFICATE_REVOKED]


async def test_new_certificates_of_an_organization_take_half_of_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused at once, and so is, in the end, who waited for nearly all of its time."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    monkeypatch.setattr(Turns, "_pass_on", lambda _turns: None)
    checked, _ = service(Directory(standard_view()), concurrent_checks=8, seconds=60)
    assert checked.check_at_once(CHECK, DOOR) is not None
    asked = [asyncio.create_task(checked.check(request(BOB, CA), DOOR)) for _ in range(5)]
    assert await waiting(asked) == 4
    monkeypatch.setattr(loop, "time", lambda: now + 55)
    assert await waiting(asked) == 0
    assert isinstance(await checked.check(CHECK, DOOR), Allow)


async def test_check_that_waited_for_a_slot_loads_its_row_before_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No source would load a turn; and without the row it would come back for a slot again and again."""
    monkeypatch.setattr("authz.service.LOADS_EACH", 1)
    directory = Directory(missing(USER, ("user", "olga")))
    monkeypatch.setattr(directory.held, "_load", lambda row: row in directory.held.missing and _miss(row[1]))
    directory.gate = asyncio.Event()
    checked, observer = service(directory)
    with monkeypatch.context() as stopped:
        stopped.setattr(Turns, "_pass_on", lambda _turns: None)
        asked = [asyncio.create_task(checked.check(CHECK, listener)) for listener in (DOOR, OLGA)]
        assert await waiting(asked) == 2
        assert checked._turns.take()
        directory.on_load = lambda _key: directory.held.missing.clear()
        directory.gate.set()
        assert await waiting(asked) == 2
    checked._turns._pass_on()
    assert [isinstance(one, Allow) for one in await asyncio.gather(*asked)] == [True, True]
    assert directory.loaded == [UserKey(1, "alice"), UserKey(1, "olga")]
    assert observer.errors == []


def _miss(user: str) -> None:
    raise NotLoaded(UserKey(1, user))


async def test_who_waited_for_a_row_first_is_overloaded_as_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a check is one: no operator is to look for a slow directory where a turn was waited for."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    monkeypatch.setattr(Turns, "_pass_on", lambda _turns: None)
    directory = Directory(missing(USER))
    checked, _ = service(directory, seconds=60)
    directory.gate = asyncio.Event()
    asked = [asyncio.create_task(checked.check(CHECK, DOOR))]
    assert await waiting(asked) == 1
    assert checked._turns.take()
    monkeypatch.setattr(loop, "time", lambda: now + 30)
    directory.gate.set()
    assert await waiting(asked) == 1
    monkeypatch.setattr(loop, "time", lambda: now + 55)
    assert await waiting(asked) == 0
    decided = await asked[0]
    assert isinstance(decided, Deny)
    assert decided.reason is Reason.OVERLOADED


async def test_checks_leave_nothing_to_the_garbage_collector() -> None:
    """A worker never looks through what lives long, as a check that waits may do."""
    directory = Directory(missing(HOST, USER, "registrations"))
    checked, _ = service(directory)
    known = ((ALICE, CA), (), (STRANGER, CA))
    refused = ((REVOKED, CA), (EVIL_ALICE, EVIL_CA), (FOREIGN,), (BELOW, LOWER, CA))
    chains = (*known, *refused)
    gc.collect()
    gc.disable()
    try:
        asked = [
            checked.check(request(*chain, host=host), DOOR) for chain in chains for host in (*ACME.hosts, "x.test")
        ]
        assert len(await asyncio.gather(*asked)) == 2 * len(chains)
        directory.held.missing = {"crls"}
        for one in (request(BELOW, LOWER, CA), MALFORMED):
            assert isinstance(await checked.check(one, DOOR), Deny)
        assert directory.loaded[-1] == "crls"
        directory.on_load = _fail
        directory.held.missing = {USER}
        assert isinstance(await checked.check(CHECK, DOOR), Deny)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kept = (BaseException, FrameType)
        found = [one for one in gc.garbage if isinstance(one, kept) or type(one).__module__.startswith("authz")]
        assert found == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _fail(_key: Hashable) -> None:
    raise RuntimeError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("S3CRET"), Reason.INTERNAL_ERROR),
        (Refused(Reason.DIRECTORY_UNAVAILABLE, "not confirmed"), Reason.DIRECTORY_UNAVAILABLE),
    ],
)
async def test_check_at_once_denies_whatever_fails(
    error: Exception, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception allows nothing; an internal one is reported, and denied without its message."""
    directory = Directory(standard_view())
    checked, observer = service(directory)

    def fail() -> MemoryView:
        raise error

    monkeypatch.setattr(directory, "view", fail)
    decision = checked.check_at_once(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert (decision.reason, "S3CRET" in decision.detail) == (reason, False)
    assert observer.decisions == [decision]
    assert observer.errors == ([error] if reason is Reason.INTERNAL_ERROR else [])


async def test_row_that_never_comes_ends_in_a_denial() -> None:
    """A directory that changes faster than it is read is not asked for ever."""
    directory = Directory(missing(HOST), on_load=lambda _: None)
    decision = await service(directory, loads=3)[0].check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.DIRECTORY_UNAVAILABLE
    assert len(directory.loaded) == 3


async def test_load_that_hangs_ends_in_a_denial() -> None:
    """Waiting is bounded, below the proxy's time-out."""
    directory = Directory(missing(HOST))
    directory.gate = asyncio.Event()
    decision = await service(directory, seconds=0.01)[0].check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.DIRECTORY_UNAVAILABLE


async def test_check_beyond_the_bound_is_overloaded_at_once() -> None:
    """Those who wait are counted; those who need not wait are served all the same."""
    directory = Directory(missing(HOST))
    directory.gate = asyncio.Event()
    checked, observer = service(directory, concurrent_checks=1, seconds=10)
    first = asyncio.create_task(checked.check(CHECK, DOOR))
    await asyncio.sleep(0)
    second = await checked.check(CHECK, DOOR)
    assert isinstance(second, Deny)
    assert second.reason is Reason.OVERLOADED
    directory.gate.set()
    assert isinstance(await first, Allow)
    assert len(observer.decisions) == 2


@pytest.mark.parametrize("reason", [Reason.DIRECTORY_UNAVAILABLE, Reason.OVERLOADED])
async def test_refusal_of_the_directory_is_the_answer(reason: Reason) -> None:
    """What it raises while loading is a denial with its own reason."""

    def refuse(_key: Hashable) -> None:
        raise Refused(reason)

    decision = await service(Directory(missing(HOST), refuse))[0].check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason is reason


async def test_view_that_cannot_be_had_is_a_denial() -> None:
    """An unconfirmed revision decides nothing."""
    directory = Directory(standard_view())

    def unavailable() -> MemoryView:
        raise Refused(Reason.DIRECTORY_UNAVAILABLE)

    directory.view = unavailable  # type: ignore[method-assign]
    decision = await service(directory)[0].check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason.status == 503


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyError("x"), RecursionError(), MemoryError()])
async def test_anything_that_fails_inside_denies(error: Exception) -> None:
    """Counted, reported to the observer, and never allowed."""

    def fail(_key: Hashable) -> None:
        raise error

    checked, observer = service(Directory(missing(HOST), fail))
    decision = await checked.check(CHECK, DOOR)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.INTERNAL_ERROR
    assert observer.errors == [error]


async def test_key_without_a_loader_is_an_internal_error() -> None:
    """A source must answer for every key."""
    directory = Directory(missing(HOST))

    async def not_mine(_key: Hashable) -> bool:
        return False

    directory.load = not_mine  # type: ignore[method-assign]
    checked, observer = service(directory)
    assert isinstance(await checked.check(CHECK, DOOR), Deny)
    assert isinstance(observer.errors[0], LookupError)


@pytest.mark.parametrize(
    ("why", "reason", "failures"),
    [
        ("no head", Reason.REQUEST_MALFORMED, 0),
        (RuntimeError("x"), Reason.INTERNAL_ERROR, 1),
        (None, Reason.INTERNAL_ERROR, 1),
    ],
)
async def test_request_that_no_gate_can_decide_is_a_decision(
    why: str | BaseException | None, reason: Reason, failures: int
) -> None:
    """Every observer sees it, so that its decision id is in the log before it goes out."""
    observer = Observer()
    service = Service(Directory(standard_view()), Clock(), observer)
    decision = service.refuse(CheckRequest("id", "", ()), DOOR, why)
    assert isinstance(decision, Deny)
    assert decision.reason is reason
    assert (observer.decisions, len(observer.errors)) == ([decision], failures)


@dataclass(frozen=True)
class Row:
    """The key of a row: an organization's, or of a host."""

    name: str
    organization: int | None = None

    @property
    def queue(self) -> object:
        """As the directory's keys have it."""
        return None if self.organization is None else ("rows", self.organization)


class Crowd(MemoryView):
    """A view in which every host is acme's, and rows are missing until they are loaded: hosts, and alice."""

    absent: set[Row]

    def organization(self, host: str) -> Organization | None:
        """See the protocol."""
        if Row(host) in self.absent:
            raise NotLoaded(Row(host))
        return ACME

    def user(self, organization: Organization, name: str) -> User | None:
        """See the protocol."""
        if Row(name, organization.id) in self.absent:
            raise NotLoaded(Row(name, organization.id))
        return super().user(organization, name)


class Stuck(Directory):
    """A directory in which hosts are loaded once `gate` is set, and users at once."""

    def __init__(self, *absent: Row) -> None:
        standard = standard_view()
        view = Crowd(users=standard.users, registered=standard.registered)
        view.absent = set(absent)
        super().__init__(view, view.absent.discard)  # type: ignore[arg-type]
        self.gate = asyncio.Event()

    async def load(self, key: Hashable) -> bool:
        """Load a key."""
        if isinstance(key, Row) and key.organization is not None:
            self.on_load(key)
            return True
        return await super().load(key)


def to(host: str) -> CheckRequest:
    """Alice's request to a host."""
    return CheckRequest(CHECK.decision_id, host, CHECK.headers)


def start(checked: Service, *hosts: str) -> list[asyncio.Task[Decision]]:
    """A check for each host, begun."""
    return [asyncio.create_task(checked.check(to(host), DOOR)) for host in hosts]


async def settle() -> None:
    """Let every waiter come as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


HOSTS = [f"h{number}.test" for number in range(LOADS_EACH)]


async def test_pool_that_is_full_keeps_no_other_waiting() -> None:
    """Random hosts, which a stranger can ask for, do not refuse a user whose row is not at hand."""
    directory = Stuck(*map(Row, HOSTS), Row("late.test"), Row("alice", 1))
    checked, _ = service(directory, seconds=60, concurrent_checks=2 * LOADS_EACH)
    strangers = start(checked, *HOSTS)
    await settle()
    overloaded = await checked.check(to("late.test"), DOOR)
    assert isinstance(overloaded, Deny)
    assert overloaded.reason is Reason.OVERLOADED
    assert isinstance(await checked.check(CHECK, DOOR), Allow)
    assert directory.gate is not None
    directory.gate.set()
    assert all(isinstance(one, Allow) for one in await asyncio.gather(*strangers))


class Many(MemoryView):
    """A view in which host N is organization N's, and every organization waits for what its host's path says."""

    def organization(self, host: str) -> Organization | None:
        """See the protocol."""
        return Organization(int(host.split(".", maxsplit=1)[0].removeprefix("t")), host, (host,))

    def user(self, organization: Organization, name: str) -> User | None:
        """See the protocol: no user is at hand."""
        raise NotLoaded(self.key(organization.id))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.numbers = count()

    def key(self, organization: int) -> Hashable:
        """A row, a key set or points of it, in turns."""
        number = next(self.numbers)
        row = UserKey(organization, str(number))
        return (row, JwksKey(f"k{number}"), PointsKey(organization, (str(number),)))[number % 3]


def crowd(concurrent_checks: int) -> Service:
    """A service for which nothing is loaded, ever."""
    directory = Directory(Many())
    directory.gate = asyncio.Event()
    return service(directory, seconds=60, concurrent_checks=concurrent_checks)[0]


async def waiting(asked: list[asyncio.Task[Decision]]) -> int:
    """How many of these checks wait; the others were refused at once."""
    await settle()
    done = [one.result() for one in asked if one.done()]
    assert all(isinstance(one, Deny) and one.reason is Reason.OVERLOADED for one in done)
    return len(asked) - len(done)


async def test_tenant_takes_half_of_the_places_whatever_it_waits_for() -> None:
    """Rows, key sets and points together; another one then gets half of what is left, and so on."""
    checked = crowd(1024)
    tasks = [start(checked, *[f"t{tenant}.test"] * 600) for tenant in range(1, 4)]
    places = [await waiting(one) for one in tasks]
    assert places == [512, 256, 128]
    tasks.append(start(checked, "t9.test"))
    assert await waiting(tasks[-1]) == 1
    for one in (check for asked in tasks for check in asked):
        one.cancel()
    await settle()
    assert not checked._waiting_of
    assert checked._waiting == 0


@pytest.mark.slow
async def test_tenants_that_flood_in_turns_leave_places_for_others() -> None:
    """Each alike: of many of them none takes what the last one needs."""
    checked = crowd(1024)
    hosts = [f"t{tenant}.test" for tenant in range(1, 32)] * 100
    asked = start(checked, *hosts)
    assert 31 * 32 <= await waiting(asked) < 31 * 33
    assert await waiting(start(checked, *["t99.test"] * 20)) >= 15
    for one in asked:
        one.cancel()


class Unverified(Many):
    """Tokens of keys that are not known, until `users` is set; then users that are not at hand."""

    users = False

    def key(self, organization: int) -> Hashable:
        """A key set, or a row."""
        number = next(self.numbers)
        return UserKey(organization, str(number)) if self.users else JwksKey(f"k{number}")


async def test_tokens_that_are_not_verified_leave_places_to_their_organizations_users() -> None:
    """Anybody can send them: of the organization's half they take less than one."""
    view = Unverified()
    directory = Directory(view)
    directory.gate = asyncio.Event()
    checked = service(directory, seconds=60, concurrent_checks=1024)[0]
    strangers = start(checked, *["t1.test"] * 600)
    assert await waiting(strangers) == 205
    view.users = True
    users = start(checked, *["t1.test"] * 600)
    assert await waiting(users) == 307
    for task in (*strangers, *users):
        task.cancel()


async def test_pool_loads_so_many_rows_at_once_and_each_once() -> None:
    """The others wait for a turn, and look again before they load: two that want one row load it once."""
    directory = Stuck(*map(Row, HOSTS), Row("late.test"))
    checked, _ = service(directory, seconds=60)
    asked = start(checked, *HOSTS, "late.test", "late.test")
    await settle()
    assert len(directory.loaded) == LOADS_EACH
    assert directory.gate is not None
    directory.gate.set()
    assert all(isinstance(one, Allow) for one in await asyncio.gather(*asked))
    assert directory.loaded.count(Row("late.test")) == 1


async def test_checks_that_want_one_row_wait_for_it_together() -> None:
    """However many they are: it is read once, so they take no turn."""
    directory = Stuck(Row("h.test"))
    checked, _ = service(directory, seconds=60)
    asked = start(checked, *["h.test"] * (3 * LOADS_EACH))
    await settle()
    assert len(directory.loaded) == 3 * LOADS_EACH
    assert directory.gate is not None
    directory.gate.set()
    assert all(isinstance(one, Allow) for one in await asyncio.gather(*asked))


async def test_check_that_waits_too_long_for_its_turn_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be given up before the row is there: under a flood the directory works for those who still wait."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    directory = Stuck(*map(Row, HOSTS), Row("late.test"))
    checked, _ = service(directory, seconds=60)
    asked = start(checked, *HOSTS, "late.test")
    for passed in (31, 61):
        await settle()
        monkeypatch.setattr(loop, "time", lambda passed=passed: now + passed)
    reasons = [one.reason for one in await asyncio.gather(*asked) if isinstance(one, Deny)]
    assert reasons == [Reason.DIRECTORY_UNAVAILABLE] * LOADS_EACH + [Reason.OVERLOADED]
    assert Row("late.test") not in directory.loaded


def test_pool_is_an_organization_a_key_set_or_a_kind_of_row() -> None:
    """Tenants never share one; what belongs to none has one of its own."""
    users = [queue_key(UserKey(organization, name)) for organization, name in ((1, "a"), (1, "b"), (2, "a"))]
    assert users[0] == users[1] != users[2]
    assert users[0] == queue_key(TrustKey(1)) == queue_key(RegistrationsKey(1, b""))
    assert queue_key(HostKey("a")) == queue_key(HostKey("b")) != queue_key(object())
    assert queue_key(JwksKey("a")) != queue_key(JwksKey("b"))
    points = [queue_key(PointsKey(organization, (url,))) for organization, url in ((1, "a"), (1, "b"), (2, "a"))]
    assert points[0] == points[1] != points[2]
    assert points[0] not in users
