"""The history: what it keeps, what it never keeps, its bounds, and that no check waits for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki_factory import NOW, Minted
from world import ACME, ALICE, BOB, CA, decide, request

from authz.decision import Decision, Deny, Evidence
from authz.directory import History, HistoryLimits, Store
from authz.directory.history import MAX_HEADER_BYTES, MAX_QUEUED, MAX_QUEUED_EACH, _surplus
from authz.directory.recorded import Filter, pack, unpack
from authz.errors import StoreError
from authz.model import CheckRequest, Identity, Outcome, Recorded
from authz.reasons import Reason
from authz.view import Door

DOOR = Door("envoy", ())


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
    """A history over a new directory, and what it told."""

    def __init__(self, folder: Path, limits: HistoryLimits | None = None) -> None:
        self.url = f"sqlite:///{folder / 'a.db'}"
        self.store = Store(self.url)
        self.clock = Clock()
        self.lost: list[int] = []
        self.warnings: list[str] = []
        self.history = History(
            self.url, self.clock, limits or HistoryLimits(), lost=self.lost.append, warn=self.warnings.append
        )
        self._number = 0

    def decide(self, decision: Decision, check: CheckRequest | None = None) -> None:
        """Tell the history of one decision, each with an id of its own."""
        self._number += 1
        asked = check or request()
        named = CheckRequest(f"{self._number:032x}", asked.host, asked.headers, asked.method, asked.target)
        self.history.decided(named, DOOR, decision, 0.0)

    async def held(self, **wanted: object) -> list[Recorded]:
        """What is in the directory once everything is written."""
        await self.history.flush()
        return self.store.decisions(Filter(**{"limit": 1_000_000, **wanted}))  # type: ignore[arg-type]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A history without limits that matter."""
    return Scene(tmp_path)


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
    assert (one.at, one.door, one.host) == (NOW, "envoy", "acme.example.test")
    assert full.headers == request(BOB, CA).headers
    assert b"secret" not in Path(scene.url.removeprefix("sqlite:///")).read_bytes()


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


async def test_same_headers_are_kept_once(scene: Scene, tmp_path: Path) -> None:
    """A client that tries again and again does not fill the disk with his chain."""
    for _ in range(300):
        scene.decide(denied(), request(BOB, CA))
    assert len(await scene.held()) == 300
    assert (tmp_path / "a.db").stat().st_size < 300 * 1_000


async def test_flood_of_one_organization_leaves_room_for_others(scene: Scene) -> None:
    """In the queue; the rest is counted."""
    flood = decide(request(BOB, CA))
    for _ in range(MAX_QUEUED_EACH + 100):
        scene.decide(flood)
    scene.decide(denied())
    assert sum(scene.lost) == 100
    assert Counter(one.organization for one in await scene.held()) == {"acme": MAX_QUEUED_EACH, "": 1}


async def test_queue_is_bounded_in_all(scene: Scene) -> None:
    """However many organizations there are."""
    for number in range(MAX_QUEUED + 7):
        scene.decide(denied(organization=replace(ACME, name=f"o{number % 9}")))
    assert sum(scene.lost) == 7


async def test_rows_are_bounded_and_the_largest_gives_up_its_oldest(tmp_path: Path) -> None:
    """Who has few rows keeps them."""
    scene = Scene(tmp_path, HistoryLimits(rows=10))
    scene.decide(denied())
    flood = decide(request(BOB, CA))
    for _ in range(50):
        scene.decide(flood)
    held = await scene.held()
    assert Counter(one.organization for one in held) == {"acme": 9, "": 1}
    assert [int(one.decision_id, 16) for one in held] == [*range(51, 42, -1), 1]


async def test_old_rows_are_forgotten_with_their_headers(tmp_path: Path) -> None:
    """Nothing is kept for ever."""
    scene = Scene(tmp_path, HistoryLimits(days=7))
    scene.decide(denied(), request(BOB, CA))
    await scene.history.flush()
    scene.clock.at += timedelta(days=8)
    scene.decide(denied())
    assert len(await scene.held()) == 1
    with scene.store._transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM presentations").scalar_one() == 1


async def test_directory_that_cannot_be_written_costs_records_and_no_check(scene: Scene, tmp_path: Path) -> None:
    """They are counted, the operator is told once, and it goes on when the directory is back."""
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


async def test_closing_writes_what_is_left(scene: Scene) -> None:
    """A service that stops in order loses nothing."""
    scene.history.start()
    await asyncio.sleep(0)
    scene.decide(denied())
    await scene.history.close()
    assert len(await scene.held()) == 1


async def test_started_history_writes_by_itself(scene: Scene) -> None:
    """Within a moment."""
    scene.history.start()
    scene.decide(denied())
    while not scene.store.decisions(Filter()):
        await asyncio.sleep(0.01)
    await scene.history.close()


WANTED: list[tuple[dict[str, object], Callable[[Recorded], bool]]] = [
    ({"organization": "acme"}, lambda one: one.organization == "acme"),
    ({"user": "alice"}, lambda one: one.user == "alice"),
    ({"outcome": Outcome.OBSERVED}, lambda one: one.outcome is Outcome.OBSERVED),
    ({"reason": "user_unknown"}, lambda one: one.reason == "user_unknown"),
    ({"certificate": BOB.sha256.hex()[:6].upper()}, lambda one: one.certificate == BOB.sha256),
    ({"since": NOW + timedelta(hours=1)}, lambda one: one.at > NOW),
]


@pytest.mark.parametrize(("wanted", "holds"), WANTED, ids=[next(iter(one[0])) for one in WANTED])
async def test_filter_lets_through_what_it_names(
    scene: Scene, wanted: dict[str, object], holds: Callable[[Recorded], bool]
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
    scene.history.decided(CheckRequest("ab" * 16, "h", ()), DOOR, denied(), 0.0)
    scene.history.decided(CheckRequest("ac" * 16, "h", ()), DOOR, denied(), 0.0)
    await scene.history.flush()
    assert scene.store.decision("ab").decision_id == "ab" * 16
    for wrong in ("a", "ad", "%", "a_"):
        with pytest.raises(StoreError):
            scene.store.decision(wrong)


@given(st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=300)), max_size=5))
def test_packed_headers_come_back_as_they_were(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever octets are in them."""
    assert unpack(pack(headers)) == tuple(headers)


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 50), max_size=8), st.integers(0, 200))
def test_surplus_brings_the_largest_down_to_one_level(sizes: dict[str, int], bound: int) -> None:
    """The bound holds, nobody below the level gives anything, and not a whole level too much is given."""
    left = dict(sizes)
    for name, surplus in _surplus(sizes, bound):
        left[name] -= surplus
    assert min(left.values(), default=0) >= 0
    assert sum(left.values()) <= bound
    if sum(sizes.values()) > bound:
        level = max(left.values())
        assert all(left[name] == size for name, size in sizes.items() if size <= level)
        assert sum(left.values()) > bound - len(sizes)
    else:
        assert left == sizes
