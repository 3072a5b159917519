"""The history: what it keeps, what it never keeps, its bounds, and that no check waits for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
import sqlalchemy as sa
from support.certificates import NOW, Minted
from support.decision_world import ACME, ALICE, BOB, CA, EVIL, ROOT, decide, request
from support.directory import SQLITE_ALONE, content, execute, new_store

from authz.decision import Decision, Deny, Evidence
from authz.directory import History, HistoryLimits
from authz.directory.allowed_requests import MAX_WAITING
from authz.directory.decision_rows import WEIGHT_BYTES, Filter, pack, weight_of
from authz.directory.history import MAX_HEADER_BYTES, MAX_QUEUED, MAX_QUEUED_EACH, STRANGERS
from authz.directory.schema import presentations
from authz.errors import StoreError
from authz.model import CheckRequest, Enforcement, Identity, KeptAllowed, Organization, Outcome, RecordedDecision, User
from authz.reasons import Reason
from authz.view import Listener

DOOR = Listener("envoy", ())


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        """The moment."""
        return self.at

    def monotonic(self) -> float:
        """The counter."""
        return 0.0


class Scene:
    """A history over a new directory, and what it reported."""

    made: ClassVar[list[Scene]] = []

    def __init__(self, url: str, limits: HistoryLimits | None = None) -> None:
        self.url = url
        self.store = new_store(self.url)
        self.store.add_organization(ACME)
        self.clock = Clock()
        self.lost: list[int] = []
        self.warnings: list[str] = []
        self.history = History(
            self.url, self.clock, limits or HistoryLimits(), lost=self.lost.append, warn=self.warnings.append
        )
        self._number = 0
        self.made.append(self)

    def decide(self, decision: Decision, check: CheckRequest | None = None) -> None:
        """Tell the history of one decision, each with an id of its own."""
        self._number += 1
        asked = check or request()
        named = CheckRequest(f"{self._number:032x}", asked.host, asked.headers, asked.method, asked.target)
        self.history.decided(named, DOOR, decision, 0.0)

    async def held(self, **wanted: object) -> list[RecordedDecision]:
        """What is in the directory once everything is written."""
        await self.history.flush()
        return self.store.decisions(Filter(**{"limit": 1_000_000, **wanted}))  # type: ignore[arg-type]


@pytest.fixture
def scene(url: str) -> Scene:
    """A history without limits that matter."""
    return Scene(url)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No connection of a test outlives it."""
    yield
    for made in Scene.made:
        made.store.close()
        made.history._engine.dispose()
    Scene.made.clear()


def denied(reason: Reason = Reason.USER_UNKNOWN, **seen: object) -> Deny:
    """A refusal."""
    return Deny(reason, "why", Evidence(**seen))  # type: ignore[arg-type]


async def test_refused_request_is_kept_with_what_it_takes_to_decide_it_again(scene: Scene) -> None:
    """Names, reason, leaf, and the certificate header as it came; no other header, above all no token."""
    check = request(BOB, CA, headers=((b"authorization", b"Bearer secret"), (b"x-other", b"1")))
    scene.decide(decide(check), check)
    [one] = await scene.held()
    full = scene.store.decision(one.decision_id)
    assert (one.outcome, one.reason) == (Outcome.DENIED, "certificate_of_another_user")
    assert (one.organization, one.user, one.certificate, one.subject) == ("acme", "alice", BOB.sha256, "CN=bob")
    assert (one.at, one.listener, one.host) == (NOW, "envoy", "acme.example.test")
    assert full.headers == request(BOB, CA).headers
    assert b"certificate_of_another_user" in content(scene.url)
    assert b"secret" not in content(scene.url)


async def test_request_that_cannot_be_read_is_kept_under_its_id(scene: Scene) -> None:
    """With listener and cause, and nothing else; alike ones of a day share a row."""
    for _ in range(3):
        scene.decide(Deny(Reason.REQUEST_MALFORMED, "no head", Evidence()), CheckRequest("id", "", ()))
    [row] = await scene.held()
    assert (row.listener, row.reason, row.detail, row.host) == ("envoy", "request_malformed", "no head", "")
    assert (row.decision_id, row.repeats) == (f"{1:032x}", 3)


async def test_observed_refusal_is_kept(scene: Scene) -> None:
    """With what `required` would have said."""
    scene.decide(decide(request(ALICE, CA), "oscar"), request(ALICE, CA))
    [one] = await scene.held()
    assert (one.outcome, one.reason) == (Outcome.OBSERVED, "certificate_of_another_user")


@pytest.mark.parametrize(("chain", "user"), [((ALICE, CA), "alice"), ((), "olga"), ((BOB, CA), "olga")])
async def test_allowed_request_is_not_kept(scene: Scene, chain: tuple[Minted, ...], user: str) -> None:
    """The history is of refusals."""
    scene.decide(decide(request(*chain), user), request(*chain))
    assert await scene.held() == []


async def test_failure_of_ours_is_not_kept(scene: Scene) -> None:
    """503 says nothing of the request."""
    scene.decide(denied(Reason.DIRECTORY_UNAVAILABLE))
    scene.history.failed(request(), DOOR, OSError())
    assert await scene.held() == []


async def test_headers_that_are_too_large_are_not_kept(scene: Scene) -> None:
    """The decision is."""
    seen = denied(identity=Identity("alice"))
    scene.decide(seen, request(headers=((b"x-forwarded-client-cert", b"x" * MAX_HEADER_BYTES),)))
    [one] = await scene.held()
    assert scene.store.decision(one.decision_id).headers is None


async def test_text_from_outside_is_bounded_and_escaped(scene: Scene) -> None:
    """Also what no database could take."""
    check = CheckRequest("x", "h" * 10_000, (), "G\nT", "/\x1b[2J" + "x" * 10_000)
    scene.decide(denied(identity=Identity("\ud800" * 10_000)), check)
    [one] = await scene.held()
    assert one.method == "G\\u000aT"
    assert one.target.startswith("/\\u001b[2J")
    assert max(map(len, (one.host, one.target, one.user))) <= 6 * 512
    assert scene.lost == []


@pytest.mark.parametrize(
    ("reason", "identity", "kept"),
    [
        (Reason.ORGANIZATION_UNKNOWN, None, False),
        (Reason.TOKEN_EXPIRED, None, False),
        (Reason.HEADER_UNEXPECTED, None, True),
        (Reason.USER_UNKNOWN, Identity("nobody"), True),
        (Reason.CERTIFICATE_EXPIRED, Identity("alice"), True),
    ],
)
async def test_headers_are_kept_where_a_replay_would_read_them(
    scene: Scene, reason: Reason, identity: Identity | None, *, kept: bool
) -> None:
    """A stranger without a token does not fill the disk with certificates."""
    headers = ((b"x-forwarded-client-cert", b"x"),)
    scene.decide(denied(reason, identity=identity), request(headers=headers))
    [one] = await scene.held()
    assert scene.store.decision(one.decision_id).headers == (headers if kept else ())


@pytest.mark.parametrize(
    ("target", "kept"),
    [("/a?access_token=eyJh&b=c", "/a?"), ("/a?b?c", "/a?"), ("/a%3Fb", "/a%3Fb"), ("?secret", "?"), ("", "")],
)
async def test_query_is_not_kept(scene: Scene, target: str, kept: str) -> None:
    """A token can stand in it."""
    scene.decide(denied(), CheckRequest("x", "h", (), "GET", target))
    [one] = await scene.held()
    assert one.target == kept


async def test_same_headers_are_kept_once(scene: Scene) -> None:
    """A client that tries again and again does not fill the disk with its chain."""
    empty = len(content(scene.url))
    for _ in range(300):
        scene.decide(misuse("alice"), request(BOB, CA))
    assert len(await scene.held()) == 300
    assert len(content(scene.url)) - empty < 300 * 700
    assert execute(scene.url, "SELECT count(*) FROM presentations") == [(1,)]


async def test_flood_of_one_organization_leaves_room_for_others(scene: Scene) -> None:
    """In the queue; the rest is counted."""
    flood = decide(request(BOB, CA))
    for _ in range(MAX_QUEUED_EACH):
        scene.decide(flood)
    scene.decide(denied())
    assert sum(scene.lost) == MAX_QUEUED_EACH // STRANGERS
    left = MAX_QUEUED_EACH - MAX_QUEUED_EACH // STRANGERS
    assert Counter(one.organization for one in await scene.held()) == {"acme": left, "": 1}


async def test_queue_is_bounded_in_all_and_the_fullest_gives_way(scene: Scene) -> None:
    """However many organizations there are: one that has little in it loses nothing."""
    for number in range(MAX_QUEUED):
        scene.decide(misuse("alice", replace(ACME, id=2 + number % 5, name="flood")))
    lost = sum(scene.lost)
    assert lost == MAX_QUEUED // STRANGERS
    scene.decide(misuse("alice"))
    assert sum(scene.lost) == lost + 1
    assert [one.organization for one in await scene.held()] == ["acme"]


def misuse(user: str, organization: Organization = ACME, **more: object) -> Deny:
    """What somebody with a user's token is refused."""
    known = User(1, organization.id, user, Enforcement.REQUIRED)
    seen: dict[str, object] = {"organization": organization, "identity": Identity(user), "user": known}
    return denied(Reason.CERTIFICATE_EXPIRED, **seen | more)


def unproven(reason: Reason, user: str = "") -> Deny:
    """What somebody without a user is refused by acme."""
    return denied(reason, organization=ACME, identity=Identity(user) if user else None)


@pytest.mark.slow
@pytest.mark.parametrize("flushes", [1, 50])
async def test_strangers_do_not_drive_out_an_organizations_misuses(url: str, flushes: int) -> None:
    """Whatever they are refused for: one row a reason, with a count and the last time."""
    scene = Scene(url, HistoryLimits(rows=100))
    for number in range(20):
        scene.decide(misuse(f"u{number}"))
    reasons = (Reason.IDENTITY_MISSING, Reason.TOKEN_EXPIRED, Reason.HEADER_UNEXPECTED)
    for _ in range(flushes):
        scene.clock.at += timedelta(seconds=1)
        for number in range(3_000 // flushes):
            check = CheckRequest("x", f"{number}.test", ((b"x-forwarded-client-cert", b"%d" % number * 900),))
            scene.decide(unproven(reasons[number % 3]), check)
        await scene.history.flush()
    held = await scene.held()
    strangers = {one.reason: one for one in held if not one.proven}
    assert len(held) == 23
    assert sum(one.repeats for one in strangers.values()) + sum(scene.lost) == 3_000
    assert scene.lost == []
    assert {one.at for one in strangers.values()} == {scene.clock.at}
    assert {one.first_at for one in strangers.values()} == {NOW + timedelta(seconds=1)}
    with scene.store.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM presentations").scalar_one() <= 3


async def test_repeats_of_another_day_listener_or_organization_are_another_row(scene: Scene) -> None:
    """So that it can be seen when it went on, and where."""
    scene.decide(unproven(Reason.TOKEN_EXPIRED))
    scene.decide(denied(Reason.TOKEN_EXPIRED))
    scene.decide(unproven(Reason.IDENTITY_MISSING))
    scene.history.decided(CheckRequest("x", "h", ()), Listener("nginx", ()), unproven(Reason.TOKEN_EXPIRED), 0.0)
    await scene.history.flush()
    scene.clock.at += timedelta(days=1)
    scene.decide(unproven(Reason.TOKEN_EXPIRED))
    assert [one.repeats for one in await scene.held()] == [1] * 5


@pytest.mark.slow
@pytest.mark.parametrize("victims", [1, 8])
async def test_user_who_floods_drives_out_no_other_users_refusals(url: str, victims: int) -> None:
    """Neither in the queue nor in the rows."""
    scene = Scene(url, HistoryLimits(rows=100))
    for number in range(victims):
        scene.decide(misuse(f"u{number}"))
    for _ in range(5):
        for _ in range(MAX_QUEUED_EACH):
            scene.decide(misuse("mallory"))
        await scene.history.flush()
    counts = Counter(one.user for one in await scene.held())
    assert counts.pop("mallory") == 90 - victims
    assert set(counts.values()) == {1}
    assert len(counts) == victims


async def test_organization_with_many_users_drives_out_no_others_rows(url: str) -> None:
    """Neither those of its users nor those of strangers; nor do requests for unknown hosts."""
    scene = Scene(url, HistoryLimits(rows=100))
    big = scene.store.add_organization(replace(EVIL, name="big", hosts=()))
    for one in (misuse("alice"), misuse("bob"), unproven(Reason.TOKEN_EXPIRED)):
        scene.decide(one)
    for number in range(600):
        scene.decide(misuse(f"u{number % 60}", big))
        scene.decide(denied(Reason.USER_UNKNOWN, organization=big, identity=Identity(f"u{number}")))
        scene.decide(denied(Reason.ORGANIZATION_UNKNOWN), CheckRequest("x", f"{number}.test", ()))
    held = await scene.held()
    kept = Counter((one.organization, one.proven) for one in held)
    assert kept == {("acme", True): 2, ("acme", False): 1, ("big", True): 88, ("big", False): 8, ("", False): 1}
    assert [one.repeats for one in held if one.organization == ""] == [600]


async def test_names_that_no_user_has_stay_in_the_strangers_tenth(url: str) -> None:
    """Each name is one row there, and drives out no other reason's."""
    scene = Scene(url, HistoryLimits(rows=100))
    scene.decide(misuse("alice"))
    scene.decide(unproven(Reason.TOKEN_EXPIRED))
    for number in range(1_000):
        scene.decide(unproven(Reason.USER_UNKNOWN, f"u{number}"))
    counts = Counter(one.reason for one in await scene.held())
    assert counts == {"certificate_expired": 1, "token_expired": 1, "user_unknown": 9}


async def test_large_decisions_count_as_several(url: str) -> None:
    """So that the bound is one of bytes, for the file, an organization and a user."""
    scene = Scene(url, HistoryLimits(rows=100))
    scene.decide(misuse("alice"))
    for number in range(100):
        header = (b"x-forwarded-client-cert", b"%03d" % number + b"x" * (MAX_HEADER_BYTES - 30))
        scene.decide(misuse("mallory"), request(headers=(header,)))
    held = await scene.held()
    full = [scene.store.decision(one.decision_id) for one in held]
    assert Counter(one.user for one in held) == {"alice": 1, "mallory": 89 // weight_of(full[0])}
    assert sum(map(weight_of, full)) <= 90
    assert sum(len(pack(one.headers or ())) for one in full) <= 90 * WEIGHT_BYTES


async def test_largest_row_is_bounded(scene: Scene) -> None:
    """Every text at its longest, of the characters that take most."""
    wide = "\U0001f600" * 10_000
    header = (b"x-forwarded-client-cert", b"x" * (MAX_HEADER_BYTES - 23))
    check = CheckRequest("x", wide, (header,), wide, "/" + wide)
    scene.decide(misuse("alice", identity=Identity(wide)), check)
    [one] = await scene.held()
    assert weight_of(scene.store.decision(one.decision_id)) <= 6


async def test_rows_are_bounded_and_the_largest_gives_up_its_oldest(url: str) -> None:
    """Who has few rows keeps them."""
    scene = Scene(url, HistoryLimits(rows=10))
    scene.decide(denied())
    flood = decide(request(BOB, CA))
    for _ in range(50):
        scene.decide(flood)
    held = await scene.held()
    assert Counter(one.organization for one in held) == {"acme": 9, "": 1}
    assert [int(one.decision_id, 16) for one in held if one.proven] == [*range(51, 42, -1)]


async def test_organization_takes_its_decisions_with_it(scene: Scene) -> None:
    """The next one of its name begins with none: neither what was kept nor what was queued is its."""
    scene.decide(misuse("alice"), request(BOB, CA))
    await scene.history.flush()
    scene.decide(misuse("alice"))
    scene.decide(denied())
    scene.store.remove_organization("acme")
    again = scene.store.add_organization(ACME)
    assert again.id != ACME.id
    assert await scene.held(organization="acme") == []
    assert [one.organization for one in await scene.held()] == [""]
    with scene.store.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM presentations").scalar_one() == 1
    scene.decide(misuse("alice", again))
    [one] = await scene.held(organization="acme")
    assert one.organization_id == again.id


async def test_organization_that_plain_sql_removes_takes_its_decisions_too(scene: Scene) -> None:
    """Foreign keys are off in SQLite's shell."""
    scene.decide(misuse("alice"))
    await scene.history.flush()
    off = ["PRAGMA foreign_keys = OFF"] if scene.url.startswith("sqlite:") else []
    execute(scene.url, *off, "DELETE FROM organizations")
    assert await scene.held() == []


async def test_old_rows_are_forgotten_with_their_headers(url: str) -> None:
    """Nothing is kept for ever."""
    scene = Scene(url, HistoryLimits(days=7))
    scene.decide(denied(), request(BOB, CA))
    await scene.history.flush()
    scene.clock.at += timedelta(days=8)
    scene.decide(denied())
    assert len(await scene.held()) == 1
    with scene.store.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM presentations").scalar_one() == 1


@SQLITE_ALONE
async def test_directory_that_cannot_be_written_costs_records_and_no_check(scene: Scene, tmp_path: Path) -> None:
    """They are counted, the operator gets one warning, and it goes on when the directory is back."""
    path = tmp_path / "a.db"
    away = path.rename(tmp_path / "away")
    path.mkdir()
    for _ in range(2):
        scene.decide(denied())
        await scene.history.flush()
    assert (scene.lost, len(scene.warnings)) == ([1, 1], 1)
    path.rmdir()
    away.rename(path)
    scene.decide(denied())
    assert len(await scene.held()) == 1


async def test_table_that_cannot_be_written_costs_records_and_no_check(scene: Scene) -> None:
    """Likewise; and what was lost takes nothing that comes later with it."""
    execute(scene.url, "ALTER TABLE decisions RENAME TO away")
    for _ in range(2):
        scene.decide(denied())
        await scene.history.flush()
    assert (scene.lost, len(scene.warnings)) == ([1, 1], 1)
    execute(scene.url, "ALTER TABLE away RENAME TO decisions")
    scene.decide(denied())
    assert len(await scene.held()) == 1


async def test_closing_writes_what_is_left(scene: Scene) -> None:
    """A service that stops in order loses nothing."""
    scene.history.start()
    await asyncio.sleep(0)
    scene.decide(denied())
    await scene.history.close()
    assert len(await scene.held()) == 1


@pytest.mark.slow
async def test_started_history_writes_by_itself(scene: Scene) -> None:
    """Within a moment."""
    scene.history.start()
    scene.decide(denied())
    while not scene.store.decisions(Filter()):
        await asyncio.sleep(0.01)
    await scene.history.close()


WANTED: list[tuple[dict[str, object], Callable[[RecordedDecision], bool]]] = [
    ({"organization": "acme"}, lambda one: one.organization == "acme"),
    ({"user": "alice"}, lambda one: one.user == "alice"),
    ({"outcome": Outcome.OBSERVED}, lambda one: one.outcome is Outcome.OBSERVED),
    ({"reason": "user_unknown"}, lambda one: one.reason == "user_unknown"),
    ({"certificate": BOB.sha256.hex()[:6].upper()}, lambda one: one.certificate == BOB.sha256),
    ({"since": NOW + timedelta(hours=1)}, lambda one: one.at > NOW),
]


@pytest.mark.parametrize(("wanted", "holds"), WANTED, ids=[next(iter(one[0])) for one in WANTED])
async def test_filter_lets_through_what_it_names(
    scene: Scene, wanted: dict[str, object], holds: Callable[[RecordedDecision], bool]
) -> None:
    """And all of it."""
    for chain, user in (((BOB, CA), "alice"), ((), "alice"), ((), "oscar"), ((ALICE, CA), "nobody")):
        scene.decide(decide(request(*chain), user), request(*chain))
    scene.decide(denied())
    scene.clock.at += timedelta(hours=2)
    scene.decide(denied(Reason.IDENTITY_MISSING))
    found = {one.decision_id for one in await scene.held(**wanted)}
    assert found == {one.decision_id for one in await scene.held() if holds(one)}
    assert 0 < len(found) < 6


async def test_decision_is_found_by_the_beginning_of_its_id(scene: Scene) -> None:
    """If that is one's alone; what would match everything matches nothing."""
    for name in ("ab", "ac"):
        scene.history.decided(CheckRequest(name * 16, "h", ()), DOOR, misuse("alice"), 0.0)
    await scene.history.flush()
    assert scene.store.decision("ab").decision_id == "ab" * 16
    for wrong in ("a", "ad", "%", "a_"):
        with pytest.raises(StoreError):
            scene.store.decision(wrong)


@pytest.mark.parametrize(("allowed", "rows"), [("none", 0), ("first-per-day", 1), ("all", 3)])
async def test_allowed_requests_are_kept_only_if_that_is_wanted(url: str, allowed: str, rows: int) -> None:
    """All of them, or the first of each user on a day, whichever process has it."""
    scene = Scene(url)
    for number in range(3):
        limits = HistoryLimits(allowed=KeptAllowed(allowed))
        process = History(url, scene.clock, limits, lost=scene.lost.append, warn=scene.warnings.append)
        check = CheckRequest(f"{number:032x}", "acme.example.test", request(ALICE, CA).headers)
        process.decided(check, DOOR, decide(check), 0.0)
        await process.close()
    kept = await scene.held()
    assert (len(kept), scene.lost, scene.warnings) == (rows, [], [])
    for record in kept[-1:]:
        assert (record.decision_id, record.outcome, record.user) == (f"{0:032x}", Outcome.ALLOWED, "alice")
        assert (record.reason, record.certificate, record.repeats) == ("", ALICE.sha256, 1)


async def test_first_request_of_a_day_that_could_not_be_written_is_not_the_last(url: str) -> None:
    """The next one of the same user takes its place."""
    scene = Scene(url, HistoryLimits(allowed=KeptAllowed.FIRST_PER_DAY))
    execute(url, "ALTER TABLE decisions RENAME TO away")
    scene.decide(decide(request(ALICE, CA)), request(ALICE, CA))
    await scene.history.flush()
    execute(url, "ALTER TABLE away RENAME TO decisions")
    scene.decide(decide(request(ALICE, CA)), request(ALICE, CA))
    assert [record.outcome for record in await scene.held()] == [Outcome.ALLOWED]
    assert scene.lost == [1]


async def test_headers_of_a_request_that_another_process_has_are_not_kept(url: str) -> None:
    """They would be of no row, and nothing would bound them."""
    scene = Scene(url)
    for chain in ((ALICE, CA), (ALICE, CA, ROOT)):
        limits = HistoryLimits(allowed=KeptAllowed.FIRST_PER_DAY)
        process = History(url, scene.clock, limits, lost=scene.lost.append, warn=scene.warnings.append)
        process.decided(request(*chain), DOOR, decide(request(*chain)), 0.0)
        await process.close()
    with scene.store.reading() as connection:
        assert len(connection.execute(sa.select(presentations.c.id)).all()) == 1


@pytest.mark.slow
async def test_flood_of_allowed_requests_drives_out_no_refusal(url: str) -> None:
    """They share one part of their organization's room, and those lost in front of it are counted."""
    scene = Scene(url, HistoryLimits(rows=100, allowed=KeptAllowed.ALL))
    refused, allowed = request(BOB, CA), request(ALICE, CA)
    for _ in range(20):
        scene.decide(decide(refused), refused)
    for _ in range(2 * MAX_WAITING):
        scene.decide(decide(allowed), allowed)
    kept = Counter(record.outcome for record in await scene.held())
    assert (kept[Outcome.DENIED], kept[Outcome.ALLOWED]) == (20, 70)
    assert sum(scene.lost) == 2 * MAX_WAITING - MAX_WAITING // 2


async def test_last_refusals_leave_out_what_was_allowed(url: str) -> None:
    """As an operator asks for them."""
    scene = Scene(url, HistoryLimits(allowed=KeptAllowed.ALL))
    for leaf in (ALICE, BOB):
        check = request(leaf, CA)
        scene.decide(decide(check), check)
    assert [record.outcome for record in await scene.held(refused=True)] == [Outcome.DENIED]
    assert len(await scene.held()) == 2
