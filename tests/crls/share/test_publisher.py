"""The CRLs in one process, looked at in another: what is told, what is asked, and what becomes of it when one goes."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.certificates import Authority, Minted
from support.crl_server import says
from support.crl_world import ACME, CA, GOOD, ROOT, Time, World, crl, leaf, serving, sha256, world

from authz.crls import CrlRules, ModeRule
from authz.crls.indexing.sealed_memory import Memory, seal
from authz.crls.indexing.shared_images import Shelf, open_sealed
from authz.crls.load_keys import PathKey
from authz.crls.share.manifest import Listed
from authz.crls.share.protocol import Kind, Link
from authz.crls.share.publisher import Feed
from authz.crls.share.subscriber import ASK_AGAIN_SECONDS, CURRENT_SECONDS, Follower
from authz.decision import Allow, Decision, Evidence
from authz.errors import IndexingError, NotLoaded, Refused
from authz.model import CheckRequest, Enforcement, User
from authz.pki import Certificate, RevocationMode, VerifiedPath, verify_path
from authz.reasons import Reason
from authz.view import Listener

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN


class Pair:
    """A keeper and one that follows it, as in two processes: they share nothing but a pair of sockets, and time."""

    def __init__(self, scene: World) -> None:
        self.scene = scene
        self.shelf = Shelf()
        self.moment: int | None = 0
        self.warnings: list[str] = []
        self.failures: list[BaseException] = []
        self.time = Time()
        self.feed = self._feed()
        self.follower = Follower(
            scene.rules,
            Memory(),
            open_crl=open_sealed,
            monotonic=self.time.monotonic,
            warn=self.warnings.append,
        )
        self.follower.failed_by = self.failures.append

    def _feed(self) -> Feed:
        return Feed(
            self.scene.refresher,
            Memory(),
            descriptor_of=self.shelf.descriptor,
            current=lambda: self.moment,
            warn=self.warnings.append,
        )

    async def join(self) -> None:
        """Link them, and wait until everything was told."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.feed.attach(ours)
        self.follower.follow(theirs)
        await self.follower.started()
        await self.scene.until(lambda: self.follower.current)

    def verify(self, one: Minted) -> VerifiedPath:
        """What a check of the follower's process does. Raises `NotLoaded`, `Refused`."""
        parsed, mode_of = Certificate.parse(one.der), self.follower.mode_of(ACME)
        try:
            found = verify_path(parsed, [], self.scene.trust, self.follower.crls(), self.scene.time.at, mode_of=mode_of)
        except Refused as refusal:
            if refusal.reason is UNKNOWN:
                self.follower.request_crls(ACME, refusal.path)
            raise
        return found

    async def check(self, one: Minted) -> str:
        """The same, waiting for what is missing: the reason, or "good", or what was let pass."""
        for _ in range(9):
            try:
                found = self.verify(one)
            except NotLoaded as missing:
                await self.follower.load(missing.key)
            except Refused as refusal:
                return refusal.reason
            else:
                self.decided(found)
                return str(found.exemption or GOOD)
        raise AssertionError("a check that never ends")

    def decided(self, path: VerifiedPath) -> None:
        """The service of the follower's process tells of a decision."""
        evidence = Evidence(organization=ACME, path=path, leaf=path.leaf)
        user = User(1, ACME.id, "alice", Enforcement.OFF)
        decision: Decision = Allow(ACME, user, path.leaf.sha256, None, evidence)
        self.follower.decided(CheckRequest("id", "h", ()), Listener("d", ()), decision, 0.0)

    def held(self) -> list[bytes]:
        """SHA-256 of every CRL that the follower looks at."""
        return sorted(one.sha256 for one in self.follower.crls())

    async def close(self) -> None:
        """End both."""
        await self.follower.close()
        await self.feed.close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[World]:
    """A keeper with nothing but distribution points."""
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def two(scene: World) -> AsyncIterator[Pair]:
    """A keeper and its follower, linked."""
    made = Pair(scene)
    await made.join()
    yield made
    await made.close()


# -- What is told --------------------------------------------------------------------------------------


async def test_follower_looks_at_what_the_keeper_holds(two: Pair) -> None:
    """From the start."""
    assert two.held() == two.scene.held() == sha256(two.scene.rows.added[0][0])


async def test_crl_that_replaces_another_does_so_for_the_follower(two: Pair) -> None:
    """A certificate that it lists is revoked there, and the one before is looked at no more."""
    plain = CA.leaf("alice")
    two.scene.rows.added.append((crl(), CA))
    two.scene.refresher.directory_read(2)
    await two.scene.until(lambda: two.held() == two.scene.held() and len(two.held()) == 2)
    assert await two.check(plain) == GOOD
    two.scene.rows.added[1] = (crl(CA, plain, number=2, hours=8), CA)
    two.scene.refresher.directory_read(3)
    await two.scene.until(lambda: two.held() == sha256(*(der for der, _ in two.scene.rows.added)))
    assert await two.check(plain) == REVOKED


async def test_follower_that_hears_nothing_answers_nothing(two: Pair) -> None:
    """After two seconds it might know less than others."""
    two.moment = None
    await asyncio.sleep(0)
    two.time.pass_by(seconds=CURRENT_SECONDS + 0.1)
    with pytest.raises(Refused) as refused:
        two.follower.crls()
    assert refused.value.reason is Reason.CRLS_UNAVAILABLE
    two.moment = int(two.time.seconds * 1e9)
    await two.scene.until(lambda: two.follower.current)
    assert len(two.follower.crls()) == 1


async def test_follower_that_nobody_linked_answers_nothing(scene: World) -> None:
    """Nor does it take silence for an empty list."""
    with pytest.raises(Refused) as refused:
        Pair(scene).follower.crls()
    assert refused.value.reason is Reason.CRLS_UNAVAILABLE


async def test_refused_source_is_no_missing_one_for_the_follower_either(tmp_path: Path) -> None:
    """`unsafe_soft_fail` lets a certificate pass whose CRL cannot be had, and none whose CRL was refused."""
    soft = CrlRules(exceptions=(ModeRule(RevocationMode(soft=True)),))
    async with world(tmp_path, rules=soft) as scene, serving(b"") as server:
        two = Pair(scene)
        await two.join()
        alice = leaf("alice", server.url)
        server.answer = says(status="500 Internal Server Error")
        assert await two.check(alice) == "unsafe_soft_fail"
        server.answer = says(body=crl(Authority.root("CA")))
        scene.time.pass_by(seconds=60)
        await scene.outcome(server.url, "signer_unknown")
        await scene.until(lambda: bool(two.follower._listed.refused))
        assert await two.check(alice) == UNKNOWN
        await two.close()


# -- What is asked -------------------------------------------------------------------------------------


async def test_crl_never_seen_is_fetched_while_a_check_of_the_follower_waits(two: Pair) -> None:
    """The very check that asked sees what came."""
    async with serving(b"") as server:
        alice, bob = leaf("alice", server.url), leaf("bob", server.url)
        server.answer = says(body=crl(CA, bob))
        assert await two.check(alice) == GOOD
        assert await two.check(bob) == REVOKED
        assert len(server.requests) == 1


async def test_checks_of_one_path_ask_once(two: Pair) -> None:
    """And nobody asks again within a second."""
    async with serving(b"") as server:
        server.answer = says(status="404 Not Found")
        alice = leaf("alice", server.url)
        assert await asyncio.gather(*(two.check(alice) for _ in range(5))) == [UNKNOWN] * 5
        with pytest.raises(Refused):
            two.verify(alice)
        two.time.pass_by(seconds=ASK_AGAIN_SECONDS + 0.1)
        two.moment = int(two.time.seconds * 1e9)
        with pytest.raises(NotLoaded) as missing:
            two.verify(alice)
        assert missing.value.key == PathKey(ACME.id, (alice.der, CA.der, ROOT.der))
        assert missing.value.key.queue == ("points", ACME.id)
        assert len(server.requests) == 1


async def test_path_without_points_asks_nobody(two: Pair) -> None:
    """There is nothing to wait for."""
    assert await two.check(CA.leaf("alice")) == UNKNOWN
    assert two.scene.refresher.sources == []


async def test_points_of_a_path_that_verified_at_the_follower_are_asked_in_time(two: Pair) -> None:
    """Once told, they are the keeper's to refresh."""
    two.scene.rows.added.append((crl(), CA))
    two.scene.refresher.directory_read(2)
    await two.scene.until(lambda: len(two.held()) == 2)
    async with serving(crl(number=2, hours=8)) as server:
        alice = leaf("alice", server.url)
        assert await two.check(alice) == GOOD
        await two.scene.outcome(server.url, "accepted")
        assert await two.check(alice) == GOOD
        assert len(two.scene.refresher.sources) == 1


async def test_flood_of_paths_silences_nobody(two: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait: the others' word comes in between, and a question beyond the bound is settled at once."""
    monkeypatch.setattr("authz.crls.share.path_queue.MAX_QUEUED_EACH", 20_000)
    read, told = 0, set[int]()

    def met(*_: object) -> None:
        nonlocal read
        read += 1
        two.moment = read

    monkeypatch.setattr(two.scene.refresher, "met", met)
    paths = [(CA.leaf(f"m{number}").der, CA.der, ROOT.der) for number in range(30)]
    for path in paths * 3:
        two.follower._send(Kind.MET, 7, path)
    asked = [asyncio.create_task(two.follower.load(PathKey(7, path))) for path in paths]
    while not all(one.done() for one in asked) or two.feed.desk._queues:
        two.feed._changed()
        told.add(int((two.follower._current or 0) * 1e9))
        await asyncio.sleep(0)
    assert 3 < read < 90
    assert len(told) > 3


async def test_defect_in_reading_a_path_ends_that_workers_line_alone(
    two: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and the worker is given another line."""
    monkeypatch.setattr(two.scene.refresher, "met", lambda *_: 1 / 0)
    two.follower._send(Kind.MET, 7, (CA.der,))
    await two.scene.until(lambda: any("ZeroDivisionError" in one for one in two.warnings))
    monkeypatch.undo()
    await two.join()
    assert two.follower.current


# -- When one of them goes -----------------------------------------------------------------------------


async def test_follower_keeps_what_it_has_until_the_next_keeper_lists(two: Pair) -> None:
    """A keeper that is started again within two seconds is not noticed by any check."""
    before = two.held()
    await two.feed.close()
    await two.scene.until(lambda: bool(two.warnings))
    assert two.held() == before
    two.feed = two._feed()
    await two.join()
    assert two.held() == before
    assert two.failures == []


async def test_question_that_nobody_will_answer_is_refused(two: Pair) -> None:
    """At once when the keeper is gone, and when it goes meanwhile."""
    key = PathKey(ACME.id, (leaf("alice", "http://127.0.0.1:9/").der, CA.der, ROOT.der))
    asking = asyncio.create_task(two.follower.load(key))
    await asyncio.sleep(0)
    await two.feed.close()
    with pytest.raises(Refused) as refused:
        await asking
    assert refused.value.reason is Reason.CRLS_UNAVAILABLE
    with pytest.raises(Refused) as refused:
        await two.follower.load(key)
    assert refused.value.reason is Reason.CRLS_UNAVAILABLE


async def test_follower_whose_line_breaks_says_so(two: Pair) -> None:
    """So that it is given another, whatever broke this one."""
    lost: list[None] = []
    two.follower.lost = lambda: lost.append(None)
    await two.feed.close()
    await two.scene.until(lambda: bool(lost))
    two.feed = two._feed()
    await two.join()
    assert len(lost) == 1


async def test_follower_that_may_open_nothing_more_does_not_pass_a_list_over(scene: World) -> None:
    """The message comes, and its descriptor does not: what was listed must not be taken for what was before."""
    two = Pair(scene)
    await two.join()
    lost: list[None] = []
    two.follower.lost = lambda: lost.append(None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    full = max(map(int, os.listdir("/proc/self/fd"))) + 1  # noqa: PTH208 - numbers are enough
    held = [os.dup(0) for _ in range(full)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 2, hard))
    try:
        held.append(os.open("/dev/null", os.O_RDONLY))
        link = next(iter(two.feed._tasks.values()))._link
        descriptor = held[0]
        await link.send(Kind.LISTED, 0, b"", descriptor)
        await scene.until(lambda: bool(lost or two.failures))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in held:
            os.close(one)
    await two.close()


async def test_list_without_its_content_is_no_list(scene: World) -> None:
    """Nor is a CRL without it."""
    two = Pair(scene)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    two.follower.follow(theirs)
    link = Link(ours)
    await link.send(Kind.LISTED)
    await scene.until(lambda: bool(two.failures))
    link.close()
    await two.close()


async def test_follower_that_goes_is_forgotten(two: Pair) -> None:
    """The keeper goes on for the others."""
    await two.follower.close()
    await two.scene.until(lambda: not two.feed._tasks)
    assert two.warnings == []


async def test_nonsense_from_a_follower_is_told_and_passed_over(scene: World) -> None:
    """A path that is none, a certificate that is none, a kind that nobody knows."""
    two = Pair(scene)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    two.feed.attach(ours)
    link = Link(theirs)
    for kind, content in ((Kind.MET, b"\1"), (Kind.MET, b"\1\0\0\0x"), (Kind.QUESTION, b"\1\0\0\0x")):
        descriptor = seal([content])
        await link.send(kind, 1, b"", descriptor)
        os.close(descriptor)
    await link.send(Kind.ANSWER)
    await scene.until(lambda: len(two.warnings) == 3)
    link.close()
    await two.close()


@pytest.mark.parametrize("nonsense", [b"\1", Listed({b"s" * 32: b"k" * 32}, ()).to_bytes()])
async def test_follower_that_cannot_know_everything_says_so(scene: World, nonsense: bytes) -> None:
    """A list that it cannot read, or that names what never came: it would know less than others."""
    two = Pair(scene)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    two.follower.follow(theirs)
    link = Link(ours)
    descriptor = seal([nonsense])
    await link.send(Kind.LISTED, 0, b"", descriptor)
    os.close(descriptor)
    await scene.until(lambda: bool(two.failures))
    assert isinstance(two.failures[0], (IndexingError, ValueError))
    link.close()
    await two.close()


async def test_crl_that_is_not_the_one_announced_is_not_held(scene: World) -> None:
    """The list would let it count for another."""
    two = Pair(scene)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    two.follower.follow(theirs)
    link = Link(ours)
    descriptor = seal([crl()])
    await link.send(Kind.CRL, 0, b"s" * 32, descriptor)
    os.close(descriptor)
    await scene.until(lambda: bool(two.failures))
    assert isinstance(two.failures[0], IndexingError)
    link.close()
    await two.close()
