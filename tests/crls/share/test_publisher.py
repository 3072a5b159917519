"""The CRLs of one process, sent to workers: what is sent, what is requested, and what becomes of nonsense."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from support.crl_pair import Pair
from support.crl_world import CA, GOOD, ROOT, World, crl, leaf, serving, sha256

from authz.crls.indexing.sealed_memory import seal
from authz.crls.load_keys import PathKey
from authz.crls.share.protocol import Channel, MessageKind
from authz.reasons import Reason

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN


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


async def test_points_of_a_path_that_verified_at_the_subscriber_are_asked_in_time(two: Pair) -> None:
    """Once reported, they are the keeper's to refresh."""
    two.scene.rows.added.append((crl(), CA))
    two.scene.refresher.directory_read(2)
    await two.scene.until(lambda: len(two.held()) == 2)
    async with serving(crl(number=2, hours=8)) as server:
        alice = leaf("alice", server.url)
        assert await two.check(alice) == GOOD
        await two.scene.outcome(server.url, "accepted")
        assert await two.check(alice) == GOOD
        assert len(two.scene.refresher.sources) == 1


async def test_flood_of_paths_silences_no_organization(two: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait: the others' word comes in between, and a question beyond the bound is settled at once."""
    monkeypatch.setattr("authz.crls.share.path_queue.MAX_QUEUED_EACH", 20_000)
    read, told = 0, set[int]()

    def path_seen(*_: object) -> None:
        nonlocal read
        read += 1
        two.moment = read

    monkeypatch.setattr(two.scene.refresher, "path_seen", path_seen)
    paths = [(CA.leaf(f"m{number}").der, CA.der, ROOT.der) for number in range(30)]
    for path in paths * 3:
        two.subscriber._send(MessageKind.PATH_SEEN, 7, path)
    asked = [asyncio.create_task(two.subscriber.load(PathKey(7, path))) for path in paths]
    while not all(one.done() for one in asked) or two.publisher.paths._queues:
        two.publisher._on_change()
        told.add(int((two.subscriber._current_at or 0) * 1e9))
        await asyncio.sleep(0)
    assert 3 < read < 90
    assert len(told) > 3


async def test_defect_in_reading_a_path_ends_that_workers_line_alone(
    two: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported, and the worker is given another line."""
    monkeypatch.setattr(two.scene.refresher, "path_seen", lambda *_: 1 / 0)
    two.subscriber._send(MessageKind.PATH_SEEN, 7, (CA.der,))
    await two.scene.until(lambda: any("ZeroDivisionError" in one for one in two.warnings))
    monkeypatch.undo()
    await two.join()
    assert two.subscriber.current


async def test_subscriber_that_goes_is_forgotten(two: Pair) -> None:
    """The keeper goes on for the others."""
    await two.subscriber.close()
    await two.scene.until(lambda: not two.publisher._subscriptions)
    assert two.warnings == []


async def test_nonsense_from_a_subscriber_is_reported_and_passed_over(scene: World) -> None:
    """A path that is invalid, a certificate that is invalid, an unknown kind."""
    two = Pair(scene)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    two.publisher.attach(ours)
    link = Channel(theirs)
    seen, request = MessageKind.PATH_SEEN, MessageKind.FETCH_REQUEST
    for kind, content in ((seen, b"\1"), (seen, b"\1\0\0\0x"), (request, b"\1\0\0\0x")):
        descriptor = seal([content])
        await link.send(kind, 1, b"", descriptor)
        os.close(descriptor)
    await link.send(MessageKind.ANSWER)
    await scene.until(lambda: len(two.warnings) == 3)
    link.close()
    await two.close()
