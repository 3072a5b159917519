"""What users presented last: of whom, when, what matched; bounded, and never on a check's way."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from support.certificates import NOW, Authority, Minted
from support.decision_world import ACME, ALICE, BOB, CA, REVOKED, ROOT, decide, request, standard_view
from support.directory import execute, new_store

from authz.directory import LastSeen
from authz.directory.last_seen import LEAVES_EACH, MAX_EACH, NOTE_BYTES
from authz.directory.schema import last_seen
from authz.directory.seen_cas import MAX_DER
from authz.view import Listener

LISTENER = Listener("envoy", ())
MINUTE = timedelta(minutes=1)
COLUMNS = last_seen.c.keys()


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
    """The directory of the decisions' world, and what is written into it."""

    def __init__(self, url: str) -> None:
        self.url = url
        store = new_store(url)
        acme = store.add_organization(ACME)
        self.users = {name: store.add_user("acme", name).id for name in ("alice", "olga", "oscar")}
        self.acme = acme.id
        store.close()
        self.clock = Clock()
        self.lost: list[int] = []
        self.warnings: list[str] = []
        self.seen = LastSeen(url, self.clock, lost=self.lost.append, warn=self.warnings.append)

    def check(self, shown: Minted, user: str = "alice", others: tuple[Minted, ...] = (CA,)) -> None:
        """One check, decided and noted; users have the directory's numbers."""
        view = standard_view()
        view.users = [replace(row, id=self.users[row.name]) for row in view.users if row.organization_id == 1]
        view.registered = [replace(view.registered[0], user_id=self.users["alice"])]
        check = request(shown, *others)
        self.seen.decided(check, LISTENER, decide(check, user, view=view), 0.0)

    async def rows(self) -> list[dict[str, Any]]:
        """The table, once everything is written."""
        await self.seen.flush()
        rows = execute(self.url, f"SELECT {', '.join(COLUMNS)} FROM last_seen ORDER BY user_id, first_seen, sha256")
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


@pytest.fixture
async def scene(url: str) -> AsyncIterator[Scene]:
    """A new one."""
    scene = Scene(url)
    yield scene
    await scene.seen.close()


def micros(moment: datetime) -> int:
    """As the tables have it."""
    return int(moment.timestamp() * 1_000_000)


async def test_leaf_is_noted_with_its_path_and_what_matched(scene: Scene) -> None:
    """Every column."""
    scene.check(ALICE)
    [row] = await scene.rows()
    leaf = ALICE.certificate
    assert (row["organization_id"], row["user_id"], row["sha256"]) == (scene.acme, scene.users["alice"], ALICE.sha256)
    assert (row["first_seen"], row["last_seen"]) == (micros(NOW), micros(NOW))
    assert row["not_after"] == micros(leaf.not_valid_after_utc)
    assert row["issuer"] == leaf.issuer.public_bytes()
    assert (row["anchor_sha256"], row["path"]) == (ROOT.sha256, CA.sha256 + ROOT.sha256)
    assert (row["listener"], row["matched"], row["refused_by"], row["refusals"]) == ("envoy", "certificate", "", 0)


@pytest.mark.parametrize(
    ("user", "shown", "refused_by"),
    [("alice", BOB, "certificate_not_registered"), ("oscar", BOB, "certificate_not_registered"), ("olga", BOB, "")],
)
async def test_refusal_of_the_binding_is_counted(scene: Scene, user: str, shown: Minted, refused_by: str) -> None:
    """Also one that `observe` allows; where enforcement is off, nothing is refused."""
    for _ in range(3):
        scene.check(shown, user)
    [row] = await scene.rows()
    assert (row["matched"], row["refused_by"], row["refusals"]) == ("", refused_by, 3 if refused_by else 0)


async def test_whether_others_came_with_a_leaf_is_noted_as_it_was_last(scene: Scene) -> None:
    """What the client sends besides tells what it can still build a path with."""
    direct = ROOT.leaf("direct")
    for others in ((CA,), ()):
        scene.check(direct, "olga", others)
        [row] = await scene.rows()
        assert bool(row["with_others"]) is bool(others)
        scene.clock.at += MINUTE


async def test_what_did_not_verify_and_who_is_unknown_leave_nothing(scene: Scene) -> None:
    """A stranger fills nothing."""
    scene.check(REVOKED)
    scene.check(ALICE, "stranger")
    assert await scene.rows() == []


async def test_later_sight_moves_the_end_and_not_the_beginning(scene: Scene) -> None:
    """Refusals add up; another worker whose clock is behind takes nothing back."""
    scene.check(BOB)
    await scene.rows()
    scene.clock.at = NOW + 5 * MINUTE
    scene.check(BOB)
    await scene.rows()
    scene.clock.at = NOW + MINUTE
    scene.check(BOB)
    [row] = await scene.rows()
    assert (row["first_seen"], row["last_seen"]) == (micros(NOW), micros(NOW + 5 * MINUTE))
    assert row["refusals"] == 3


async def test_moment_is_that_of_the_check_and_not_of_the_writing(scene: Scene) -> None:
    """A refusal behind it came later, although it was written before."""
    for _ in range(2):
        scene.check(ALICE)
        scene.clock.at += MINUTE
    [row] = await scene.rows()
    assert (row["first_seen"], row["last_seen"]) == (micros(NOW), micros(NOW + MINUTE))


async def test_user_keeps_the_newest_leaves(scene: Scene) -> None:
    """So many of each; another user's stay."""
    leaves = [CA.leaf(f"leaf {number}") for number in range(LEAVES_EACH + 2)]
    scene.check(ALICE, "olga")
    for leaf in leaves:
        scene.clock.at += MINUTE
        scene.check(leaf)
        await scene.rows()
    rows = await scene.rows()
    mine = [row["sha256"] for row in rows if row["user_id"] == scene.users["alice"]]
    assert mine == [leaf.sha256 for leaf in leaves[2:]]
    assert len(rows) == LEAVES_EACH + 1


async def test_user_that_went_meanwhile_leaves_nothing_and_fails_nothing(scene: Scene) -> None:
    """Nor does one whose number another organization's user has."""
    scene.check(ALICE)
    scene.check(ALICE, "olga")
    execute(scene.url, "DELETE FROM users WHERE name = 'alice'")
    [row] = await scene.rows()
    assert row["user_id"] == scene.users["olga"]
    assert scene.lost == []


async def test_ca_that_only_the_client_has_is_kept(scene: Scene) -> None:
    """Of a verified path, without the anchor; once for however many leaves. One of a refused path is not."""
    for leaf in (ALICE, BOB, REVOKED):
        scene.check(leaf)
    await scene.rows()
    assert execute(scene.url, "SELECT organization_id, der FROM seen_cas") == [(scene.acme, CA.der)]
    execute(scene.url, "DELETE FROM seen_cas")
    scene.check(Authority.root("Stranger").leaf("alice"))
    await scene.rows()
    assert execute(scene.url, "SELECT sha256 FROM seen_cas") == []


async def test_ca_of_unusual_size_is_not_kept(scene: Scene) -> None:
    """The sighting is, and what ends with that CA has no date."""
    leaf, *cas = strangest(1).certificates
    cas[3].der = bytes(MAX_DER + 1)
    show(scene, leaf, cas)
    [row] = await scene.rows()
    assert row["path"] == b"".join(ca.sha256 for ca in cas)
    kept = {digest for (digest,) in execute(scene.url, "SELECT sha256 FROM seen_cas")}
    assert kept == {ca.sha256 for ca in cas[:-1]} - {cas[3].sha256}


async def test_cas_beyond_those_of_one_transaction_are_kept_by_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths have more of them than there are leaves."""
    monkeypatch.setattr("authz.directory.last_seen.AT_ONCE", 1)
    leaf, *cas = strangest(1).certificates
    show(scene, leaf, cas)
    await scene.rows()
    assert execute(scene.url, "SELECT count(*) FROM seen_cas") == [(len(cas) - 1,)]


def show(scene: Scene, leaf: SimpleNamespace, cas: list[SimpleNamespace]) -> None:
    """Alice's check with that path."""
    decision = decide(request(ALICE, CA), view=standard_view())
    assert decision.evidence.user is not None
    decision.evidence.user = replace(decision.evidence.user, id=scene.users["alice"], organization_id=scene.acme)
    decision.evidence.path = SimpleNamespace(certificates=(leaf, *cas))  # type: ignore[assignment]
    scene.seen.decided(request(), LISTENER, decision, 0.0)


def strangest(number: int) -> SimpleNamespace:
    """The path of a leaf whose CA has the longest name that is read, and which shares nothing with any other."""
    digests = [number.to_bytes(16) + bytes([place]) * 16 for place in range(10)]
    ca = [SimpleNamespace(sha256=digest, der=digest * 24) for digest in digests]
    mark = number.to_bytes(32)
    leaf = SimpleNamespace(sha256=mark, not_after=NOW + MINUTE * number, issuer_der=mark * 64, spki_sha256=mark[::-1])
    return SimpleNamespace(certificates=(leaf, *ca))


@pytest.mark.slow
async def test_one_organizations_flood_takes_no_more_than_its_part_and_is_counted(scene: Scene) -> None:
    """What lies in memory is what is accounted, at most; another organization's notes still have room."""
    decision = decide(request(ALICE, CA), view=standard_view())
    evidence, user = decision.evidence, decision.evidence.user
    assert user is not None
    tracemalloc.start()
    number = 0
    while not scene.lost:
        number += 1
        evidence.user, evidence.path = replace(user, id=number), strangest(number)  # type: ignore[assignment]
        scene.seen.decided(request(), LISTENER, decision, 0.0)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert MAX_EACH / 2 < taken < 1.1 * MAX_EACH
    evidence.user = replace(user, organization_id=2)
    scene.seen.decided(request(), LISTENER, decision, 0.0)
    assert scene.lost == [1]


@pytest.mark.slow
async def test_note_of_a_usual_leaf_takes_what_is_accounted(scene: Scene) -> None:
    """Leaves of one CA share its name and the path."""
    decision = decide(request(ALICE, CA), view=standard_view())
    evidence, user = decision.evidence, decision.evidence.user
    assert user is not None
    cas = strangest(0).certificates[1:]
    tracemalloc.start()
    for number in range(1_000):
        leaf = SimpleNamespace(**{**vars(strangest(number).certificates[0]), "issuer_der": b"issuer" * 16})
        evidence.user = replace(user, id=number)
        evidence.path = SimpleNamespace(certificates=(leaf, *cas))  # type: ignore[assignment]
        scene.seen.decided(request(), LISTENER, decision, 0.0)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.5 * NOTE_BYTES < taken / 1_000 < NOTE_BYTES


@pytest.mark.slow
async def test_many_notes_are_written_before_their_time(scene: Scene) -> None:
    """An organization with many clients loses none for want of room."""
    scene.seen.start()
    decision = decide(request(ALICE, CA), view=standard_view())
    evidence, user = decision.evidence, decision.evidence.user
    assert user is not None
    for number in range(MAX_EACH // NOTE_BYTES * 3 // 4):
        evidence.user = replace(user, id=number + 1_000)
        scene.seen.decided(request(), LISTENER, decision, 0.0)
    async with asyncio.timeout(20):
        while scene.seen._notes:
            await asyncio.sleep(0.01)
    assert scene.lost == []


async def test_directory_that_cannot_be_written_is_reported_once_and_counted(scene: Scene) -> None:
    """And written again when it can."""
    execute(scene.url, "ALTER TABLE last_seen RENAME TO gone")
    for _ in range(2):
        scene.check(ALICE)
        await scene.seen.flush()
    assert scene.lost == [1, 1]
    assert len(scene.warnings) == 1
    execute(scene.url, "ALTER TABLE gone RENAME TO last_seen")
    scene.check(ALICE)
    assert len(await scene.rows()) == 1


async def test_close_writes_what_is_left(scene: Scene) -> None:
    """Whether it was started or not."""
    scene.seen.start()
    scene.check(ALICE)
    await scene.seen.close()
    assert execute(scene.url, "SELECT count(*) FROM last_seen") == [(1,)]


async def test_rows_are_written_in_one_order_whatever_came_first(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that write the same rows, each in its own order, would wait for each other."""
    written: list[tuple[int, bytes]] = []
    monkeypatch.setattr(
        scene.seen, "_write", lambda notes, *_: written.extend((n.leaf["user_id"], n.leaf["sha256"]) for n in notes)
    )
    leaves = [CA.leaf(f"leaf {number}") for number in range(4)]
    for user, leaf in [("oscar", leaves[0]), ("alice", leaves[1]), ("olga", leaves[2]), ("alice", leaves[3])]:
        scene.check(leaf, user)
    await scene.seen.flush()
    assert len(written) == 4
    assert written == sorted(written)
