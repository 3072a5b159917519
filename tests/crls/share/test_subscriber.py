"""The CRLs in a worker: what checks see, what they wait for, and what happens when the channel closes."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from support.certificates import NOW, Authority
from support.crl_pair import Pair
from support.crl_server import says
from support.crl_world import ACME, CA, GOOD, ROOT, World, crl, leaf, serving, sha256, world

from authz.crls.indexing.sealed_memory import seal
from authz.crls.load_keys import PathKey
from authz.crls.rules import CrlRules, ModeRule
from authz.crls.share.protocol import Channel, CrlManifest, MessageKind
from authz.crls.share.subscriber import ASK_AGAIN_SECONDS, CURRENT_SECONDS
from authz.errors import IndexingError, NotLoaded, Refused
from authz.pki import RevocationMode
from authz.reasons import Reason

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN


async def test_subscriber_looks_at_what_the_publisher_holds(two: Pair) -> None:
    """From the start."""
    assert two.held() == two.scene.held() == sha256(two.scene.rows.added[0][0])


async def test_subscriber_that_hears_nothing_answers_nothing(two: Pair) -> None:
    """After two seconds it might know less than others."""
    two.moment = None
    await asyncio.sleep(0)
    two.time.pass_by(seconds=CURRENT_SECONDS + 0.1)
    with pytest.raises(Refused) as refused:
        two.subscriber.crls()
    assert refused.value.reason is Reason.CRLS_UNAVAILABLE
    two.moment = int(two.time.seconds * 1e9)
    await two.scene.until(lambda: two.subscriber.current)
    assert len(two.subscriber.crls()) == 1


async def test_subscriber_without_a_link_answers_nothing(scene: World) -> None:
    """Nor does it take silence for an empty list."""
    with pytest.raises(Refused) as refused:
        Pair(scene).subscriber.crls()
    assert refused.value.reason is Reason.CRLS_UNAVAILABLE


async def test_refused_source_is_no_missing_one_for_the_subscriber_either(tmp_path: Path) -> None:
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
        await scene.until(lambda: bool(two.subscriber._manifest.refused))
        assert await two.check(alice) == UNKNOWN
        await two.close()


async def test_crl_never_seen_is_fetched_while_a_check_of_the_subscriber_waits(two: Pair) -> None:
    """The very check that asked sees what came."""
    async with serving(b"") as server:
        alice, bob = leaf("alice", server.url), leaf("bob", server.url)
        server.answer = says(body=crl(CA, bob))
        assert await two.check(alice) == GOOD
        assert await two.check(bob) == REVOKED
        assert len(server.requests) == 1


async def test_crl_that_had_expired_when_it_came_is_evidence_for_the_subscriber_too(two: Pair) -> None:
    """What it lists is revoked, and the others pass by the one before it."""
    async with serving(b"") as server:
        alice, bob = leaf("alice", server.url), leaf("bob", server.url)
        server.answer = says(body=crl())
        assert (await two.check(alice), await two.check(bob)) == (GOOD, GOOD)
        expired = crl(CA, bob, number=2, hours=1, next_update=NOW - timedelta(minutes=1))
        server.answer = says(body=expired)
        two.scene.time.pass_by(minutes=15)
        await two.scene.outcome(server.url, "unusable")
        await two.scene.until(lambda: len(two.subscriber.crls()) == 3)
        assert (await two.check(alice), await two.check(bob)) == (GOOD, REVOKED)
        server.answer = says(body=crl(number=3, hours=0.5))
        two.scene.time.pass_by(minutes=15)
        await two.scene.outcome(server.url, "accepted")
        await two.scene.until(lambda: len(two.subscriber.crls()) == 2)
        assert (await two.check(alice), await two.check(bob)) == (GOOD, GOOD)


async def test_what_was_remembered_of_crls_goes_with_them(two: Pair) -> None:
    """The garbage collector would not find it: it would hold every CRL that ever counted, and the memory it is in."""
    async with serving(b"") as server:
        server.answer = says(body=crl())
        assert await two.check(leaf("alice", server.url)) == GOOD
        before = two.subscriber.crls().memory
        assert len(before)
        server.answer = says(body=crl(number=2, hours=0.5))
        two.scene.time.pass_by(minutes=15)
        await two.scene.until(lambda: two.subscriber.crls().memory is not before)
        assert not len(before)


async def test_checks_of_one_path_ask_once(two: Pair) -> None:
    """And it is not asked again within a second."""
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


async def test_path_without_points_asks_no_source(two: Pair) -> None:
    """There is nothing to wait for."""
    assert await two.check(CA.leaf("alice")) == UNKNOWN
    assert two.scene.refresher.sources == []


@pytest.mark.slow
async def test_subscriber_keeps_what_it_has_until_the_next_publisher_lists(two: Pair) -> None:
    """A keeper that is started again within two seconds is not noticed by any check."""
    before = two.held()
    await two.publisher.close()
    await two.scene.until(lambda: bool(two.warnings))
    assert two.held() == before
    two.publisher = two._publisher()
    await two.join()
    assert two.held() == before
    assert two.failures == []


@pytest.mark.slow
async def test_end_of_a_publisher_is_warned_of_only_if_no_other_follows(
    two: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is replaced closes its end, too, and nothing is to be mended then."""
    monkeypatch.setattr("authz.crls.share.subscriber.CURRENT_SECONDS", 0.2)
    await two.publisher.close()
    two.publisher = two._publisher()
    await two.join()
    await asyncio.sleep(0.4)
    assert two.warnings == []
    await two.publisher.close()
    await two.scene.until(lambda: bool(two.warnings))
    assert "out of reach" in two.warnings[0]


async def test_question_that_will_not_be_answered_is_refused(two: Pair) -> None:
    """At once when the keeper is gone, and when it goes meanwhile."""
    key = PathKey(ACME.id, (leaf("alice", "http://127.0.0.1:9/").der, CA.der, ROOT.der))
    asking = asyncio.create_task(two.subscriber.load(key))
    await asyncio.sleep(0)
    await two.publisher.close()
    with pytest.raises(Refused) as refused:
        await asking
    assert refused.value.reason is Reason.CRLS_UNAVAILABLE
    with pytest.raises(Refused) as refused:
        await two.subscriber.load(key)
    assert refused.value.reason is Reason.CRLS_UNAVAILABLE


async def test_subscriber_whose_line_breaks_says_so(two: Pair) -> None:
    """So that it is given another, whatever broke this one."""
    lost: list[None] = []
    two.subscriber.lost = lambda: lost.append(None)
    await two.publisher.close()
    await two.scene.until(lambda: bool(lost))
    two.publisher = two._publisher()
    await two.join()
    assert len(lost) == 1


async def test_subscriber_that_may_open_nothing_more_does_not_pass_a_list_over(scene: World) -> None:
    """The message comes, and its descriptor does not: what was listed must not be taken for what was before."""
    two = Pair(scene)
    await two.join()
    lost: list[None] = []
    two.subscriber.lost = lambda: lost.append(None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    full = max(map(int, os.listdir("/proc/self/fd"))) + 1  # noqa: PTH208 - numbers are enough
    held = [os.dup(0) for _ in range(full)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 2, hard))
    try:
        held.append(os.open("/dev/null", os.O_RDONLY))
        link = next(iter(two.publisher._subscriptions.values()))._channel
        descriptor = held[0]
        await link.send(MessageKind.MANIFEST, 0, b"", descriptor)
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
    two.subscriber.follow(theirs)
    link = Channel(ours)
    await link.send(MessageKind.MANIFEST)
    await scene.until(lambda: bool(two.failures))
    link.close()
    await two.close()


@pytest.mark.parametrize("nonsense", [b"\1", CrlManifest({b"s" * 32: b"k" * 32}, ()).to_bytes()])
async def test_subscriber_that_cannot_know_everything_says_so(scene: World, nonsense: bytes) -> None:
    """A list that it cannot read, or that names what never came: it would know less than others."""
    two = Pair(scene)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    two.subscriber.follow(theirs)
    link = Channel(ours)
    descriptor = seal([nonsense])
    await link.send(MessageKind.MANIFEST, 0, b"", descriptor)
    os.close(descriptor)
    await scene.until(lambda: bool(two.failures))
    assert isinstance(two.failures[0], (IndexingError, ValueError))
    link.close()
    await two.close()


async def test_crl_that_is_not_the_one_announced_is_not_held(scene: World) -> None:
    """The list would let it count for another."""
    two = Pair(scene)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    two.subscriber.follow(theirs)
    link = Channel(ours)
    descriptor = seal([crl()])
    await link.send(MessageKind.CRL, 0, b"s" * 32, descriptor)
    os.close(descriptor)
    await scene.until(lambda: bool(two.failures))
    assert isinstance(two.failures[0], IndexingError)
    link.close()
    await two.close()
