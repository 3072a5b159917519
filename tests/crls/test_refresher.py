"""CRLs that stay fresh by themselves, from every source, and what checks see of it."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import NOW, Authority
from support.crl_server import Answer, dribbles, hangs, raw, resets, says
from support.crl_world import ACME, CA, EVIL, GOOD, ROOT, World, crl, leaf, points, serving, sha256, spki, world

from authz.crls import CrlRules, CrlsKey, ModeRule, PointsKey
from authz.crls import folder as files
from authz.crls import refresh_job as trial
from authz.crls.indexing.client import index_crl
from authz.errors import NotLoaded, Refused
from authz.model import CrlSourceKind
from authz.pki import Certificate, Crl, Exemption, RevocationMode, TrustStore
from authz.pki.x509.distinguished_name import Name
from authz.reasons import Reason

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN
PLAIN = CA.leaf("alice")
HTML = b"<!doctype html><title>Sign in</title>"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[World]:
    """A service with nothing but distribution points."""
    async with world(tmp_path) as made:
        yield made


# -- First sight ---------------------------------------------------------------------------------------


async def test_crl_never_seen_is_fetched_while_the_check_waits(scene: World) -> None:
    """From the distribution point of a certificate whose path verified."""
    async with serving(crl()) as server:
        assert await scene.check(leaf("alice", server.url)) == GOOD
        assert await scene.check(leaf("bob", server.url)) == GOOD
        assert len(server.requests) == 1
    [held] = scene.refresher.fetched
    assert (held.issuer, held.number, held.entries, held.location) == ("CN=CA", "1", 0, server.url)


async def test_certificate_listed_in_the_crl_that_is_fetched_is_revoked(scene: World) -> None:
    """The very check that brought it refuses."""
    async with serving(b"") as server:
        alice = leaf("alice", server.url)
        server.answer = says(body=crl(CA, alice))
        assert await scene.check(alice) == REVOKED


async def test_url_in_a_certificate_that_does_not_verify_is_not_asked(scene: World) -> None:
    """Anybody can write one."""
    stranger = Authority.root("CA").leaf("alice", extensions=points("http://127.0.0.1:9/"))
    assert await scene.check(stranger) != GOOD
    assert scene.refresher.sources == []


async def test_point_that_fails_is_remembered_and_nobody_waits_again(scene: World) -> None:
    """Until it is time to try it again."""
    async with serving(b"") as server:
        server.answer = says(status="500 Internal Server Error")
        alice = leaf("alice", server.url)
        assert [await scene.check(alice) for _ in range(3)] == [UNKNOWN] * 3
        assert len(server.requests) == 1
        state = scene.state(server.url)
        assert (state.kind, state.outcome, state.failures) == (CrlSourceKind.POINT, "status", 1)
        assert state.next_at == NOW + timedelta(seconds=30)
        server.answer = says(body=crl())
        scene.time.pass_by(seconds=30)
        await scene.outcome(server.url, "accepted")
        assert await scene.check(alice) == GOOD


async def test_point_that_is_too_slow_denies_in_time_and_serves_later(tmp_path: Path) -> None:
    """The first check waits for its share, the next not at all; what comes in the end counts."""
    async with world(tmp_path, rules=CrlRules(first_sight=0.05)) as scene, serving(b"") as server:
        server.answer = hangs()
        alice = leaf("alice", server.url)
        assert await scene.check(alice) == UNKNOWN
        with pytest.raises(Refused):
            scene.verify(alice)
        await scene.outcome(server.url, "timeout")


async def test_checks_of_one_organization_wait_in_a_pool_of_their_own(scene: World) -> None:
    """Those that wait for a slow distribution point keep no row waiting."""
    async with serving(crl()) as server:
        with pytest.raises(NotLoaded) as caught:
            scene.verify(leaf("alice", server.url))
        assert caught.value.key == PointsKey(ACME.id, (server.url,))
        assert caught.value.key.queue == ("points", ACME.id)
        assert PointsKey(EVIL.id, ()).queue != caught.value.key.queue


async def test_points_of_an_organization_are_bounded(tmp_path: Path) -> None:
    """Whoever has more is told so, and another organization has its own."""
    async with world(tmp_path, rules=CrlRules(points_each=2)) as scene, serving(crl()) as server:
        urls = [f"{server.url}?{number}" for number in range(4)]
        for url in urls[:3]:
            await scene.check(leaf("alice", url))
        assert len(scene.refresher.sources) == 2
        assert sum("points_each" in one for one in scene.warnings) == 1
        with pytest.raises(Refused):
            scene.verify(leaf("a", urls[3], by=ROOT.intermediate("other")), ACME)
        assert any("points_each" in one for one in scene.warnings)


async def test_point_asked_for_one_organization_is_asked_again_for_anothers_ca(scene: World) -> None:
    """Whose key the first did not know: it must not be able to keep the other's CRL away."""
    neighbour_root = Authority.root("Neighbour")
    async with serving(crl()) as server:
        scene.rows.cas = []
        theirs = neighbour_root.leaf("alice", extensions=points(server.url))
        scene.rows.added.append((crl(neighbour_root), neighbour_root))
        mine, scene.trust = scene.trust, TrustStore([Certificate.parse(neighbour_root.der)])
        scene.refresher.directory_read(2)
        scene.rows.added.pop()
        assert await scene.check(theirs, EVIL) == UNKNOWN
        assert scene.state(server.url).outcome == "signer_unknown"
        scene.trust = mine
        assert await scene.check(leaf("alice", server.url), ACME) == GOOD


async def test_points_are_not_asked_where_the_operator_says_so(tmp_path: Path) -> None:
    """Then what is added and configured is all there is."""
    async with world(tmp_path, rules=CrlRules(points=False)) as scene, serving(crl()) as server:
        assert await scene.check(leaf("alice", server.url)) == UNKNOWN
        assert server.requests == []


async def test_nothing_is_decided_before_the_crls_were_read(tmp_path: Path) -> None:
    """They are asked for, and come with the start."""
    async with world(tmp_path) as scene:
        fresh = scene.refresher
        assert await fresh.load(CrlsKey())
        assert not await fresh.load("somebody else's")


async def test_path_that_passes_makes_its_points_known(scene: World) -> None:
    """The CRL that an operator added counts now; the point is asked so that it stays fresh."""
    scene.rows.added.append((crl(), CA))
    scene.refresher.directory_read(2)
    await scene.until(lambda: len(scene.held()) == 2)
    async with serving(crl(CA, PLAIN, number=2, hours=1)) as server:
        assert await scene.check(leaf("alice", server.url)) == GOOD
        await scene.outcome(server.url, "accepted")
    assert await scene.check(PLAIN) == REVOKED


# -- Refreshing ----------------------------------------------------------------------------------------


async def test_source_is_asked_again_in_time_and_only_for_what_is_new(scene: World) -> None:
    """At the ceiling, with what the server gave to ask with; a new CRL counts at once."""
    async with serving(b"") as server:
        alice = leaf("alice", server.url)
        server.answer = says('ETag: "v1"\r\n', crl())
        assert await scene.check(alice) == GOOD
        server.answer = says(status="304 Not Modified", body=b"")
        scene.time.pass_by(minutes=15)
        await scene.outcome(server.url, "unchanged")
        assert 'If-None-Match: "v1"' in server.requests[-1]
        server.answer = says(body=crl(CA, alice, number=2, hours=1))
        scene.time.pass_by(minutes=15)
        await scene.outcome(server.url, "accepted")
    assert await scene.check(alice) == REVOKED


async def test_crl_that_is_out_of_date_is_asked_for_without_conditions(scene: World) -> None:
    """That it has not changed is believed of a cache no more."""
    async with serving(b"") as server:
        server.answer = says('ETag: "v1"\r\n', crl(next_update=NOW + timedelta(minutes=10)))
        assert await scene.check(leaf("alice", server.url)) == GOOD
        server.answer = says('ETag: "v1"\r\n', crl(number=2, hours=-0.2))
        scene.time.pass_by(minutes=15)
        await scene.until(lambda: [one.number for one in scene.refresher.fetched] == ["2"])
        assert "If-None-Match" not in server.requests[-1]


async def test_clock_that_has_gone_back_leaves_no_source_unasked(scene: World) -> None:
    """What was to be asked at a time that now lies days ahead is asked now."""
    scene.time.pass_by(days=3)
    async with serving(crl(next_update=NOW + timedelta(days=9))) as server:
        assert await scene.check(leaf("alice", server.url)) == GOOD
        scene.time.pass_by(days=-2)
        await scene.outcome(server.url, "unchanged")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "empty"),
        (HTML, "not_a_crl"),
        (crl()[:-1], "not_a_crl"),
        (crl(number=1, hours=10), "older"),
        (crl(number=9, hours=10), "disagrees"),
        (crl(number=9, hours=-1), "not_yet"),
        (crl(Authority.root("CA"), number=9, hours=1), "signer_unknown"),
        (crl(Authority.root("Other"), number=9, hours=1), "signer_unknown"),
        (b"\x30\x03\x02\x01\x00", "malformed"),
    ],
)
async def test_good_crl_is_never_replaced_by_a_worse_one(scene: World, body: bytes, expected: str) -> None:
    """What came and was refused is shown, and the one held goes on answering."""
    async with serving(crl(number=5)) as server:
        alice = leaf("alice", server.url)
        assert await scene.check(alice) == GOOD
        before = scene.held()
        server.answer = says(body=body)
        scene.time.pass_by(minutes=15)
        state = await scene.outcome(server.url, expected)
    assert state.failures == 1
    assert state.detail
    assert scene.held() == before
    assert await scene.check(alice) == GOOD


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (says(status="404 Not Found"), "status"),
        (says(status="500 Internal Server Error"), "status"),
        (says("Location: http://169.254.169.254/latest/meta-data\r\n", status="302 Found"), "redirect"),
        (says("Content-Encoding: gzip\r\n", gzip.compress(bytes(10_000_000))), "encoding"),
        (says(length=200 * 1024 * 1024), "too_large"),
        (says(body=crl()[:50], length=len(crl())), "truncated"),
        (resets(), "reset"),
        (resets(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n0"), "truncated"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "protocol"),
        (hangs(), "timeout"),
        (dribbles(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"0"), "timeout"),
    ],
)
async def test_server_that_misbehaves_makes_no_decision_weaker(scene: World, answer: Answer, expected: str) -> None:
    """The operator sees what it did; the revoked certificate stays revoked, the good one good."""
    async with serving(b"") as server:
        alice, bob = leaf("alice", server.url), leaf("bob", server.url)
        server.answer = says(body=crl(CA, bob))
        assert (await scene.check(alice), await scene.check(bob)) == (GOOD, REVOKED)
        server.answer = answer
        scene.time.pass_by(minutes=15)
        state = await scene.outcome(server.url, expected)
        assert state.failures == 1
        assert (await scene.check(alice), await scene.check(bob)) == (GOOD, REVOKED)


async def test_same_crl_fetched_again_is_not_read_again(tmp_path: Path) -> None:
    """A server that gives nothing to ask with costs a transfer, and no process."""
    async with world(tmp_path, start=False) as scene, serving(crl(CA, *range(1, 2_000))) as server:
        read: list[object] = []

        async def counted(source: Path | int, keys: Collection[bytes]) -> Crl:
            read.append(source)
            return await index_crl(source, keys)

        scene.index = counted
        await scene.start()
        assert await scene.check(leaf("alice", server.url)) == GOOD
        scene.time.pass_by(minutes=15)
        await scene.outcome(server.url, "unchanged")
    assert len(read) == 1


async def test_two_sources_of_one_crl_have_it_read_once_and_are_both_asked_for_what_is_new(tmp_path: Path) -> None:
    """As certificates often name two; each is asked with what it gave, and in time for nextUpdate."""
    body = crl(CA, *range(1, 2_000), next_update=NOW + timedelta(minutes=20))
    async with serving(body) as first, serving(body) as second, world(tmp_path, start=False) as scene:
        first.answer, second.answer = says('ETag: "1"\r\n', body), says('ETag: "2"\r\n', body)
        read: list[object] = []

        async def counted(source: Path | int, keys: Collection[bytes]) -> Crl:
            read.append(source)
            return await index_crl(source, keys)

        scene.index = counted
        await scene.start()
        urls = first.url, second.url
        assert await scene.check(leaf("alice", first.url)) == GOOD
        assert await scene.check(leaf("alice", second.url)) == GOOD
        await scene.outcome(second.url, "unchanged")
        assert [scene.state(one).next_at for one in urls] == [NOW + timedelta(seconds=30)] * 2
        first.answer = second.answer = says(status="304 Not Modified", body=b"")
        for _ in range(2):
            scene.ledger.wanted = list(urls)
            before = sum(scene.refresher.outcomes.values())
            await scene.until(lambda wanted=before + 2: sum(scene.refresher.outcomes.values()) == wanted)  # type: ignore[misc]
            assert [scene.state(one).outcome for one in urls] == ["unchanged"] * 2
        assert 'If-None-Match: "1"' in first.requests[-1]
        assert 'If-None-Match: "2"' in second.requests[-1]
    assert len(read) == 1


async def test_crls_of_one_organizations_points_are_bounded_in_octets(
    scene: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share a disk with everybody else's; another organization has its own share."""
    other = ROOT.intermediate("Other")
    scene.rows.cas.append(other)
    scene.trust = TrustStore([Certificate.parse(ROOT.der)], [Certificate.parse(one.der) for one in (CA, other)])
    monkeypatch.setattr("authz.crls.quota.MAX_OCTETS_EACH", len(crl()) * 3 // 2)
    async with serving(crl()) as first, serving(crl(other)) as second:
        assert await scene.check(leaf("alice", first.url)) == GOOD
        assert await scene.check(leaf("alice", second.url, by=other)) == UNKNOWN
        assert scene.state(second.url).outcome == "too_large"
    async with serving(crl(other)) as third:
        assert await scene.check(leaf("alice", third.url, by=other), EVIL) == GOOD


async def test_point_that_another_organization_named_first_counts_for_whoever_has_room(
    scene: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has used up his share must not take others' points with him by naming them as his."""
    other = ROOT.intermediate("Other")
    scene.rows.cas.append(other)
    scene.trust = TrustStore([Certificate.parse(ROOT.der)], [Certificate.parse(one.der) for one in (CA, other)])
    monkeypatch.setattr("authz.crls.quota.MAX_OCTETS_EACH", len(crl()) * 3 // 2)
    async with serving(crl()) as first, serving(crl(other)) as second:
        assert await scene.check(leaf("mallory", first.url), EVIL) == GOOD
        assert await scene.check(leaf("mallory", second.url, by=other), EVIL) == UNKNOWN
        assert scene.state(second.url).outcome == "too_large"
        assert await scene.check(leaf("alice", second.url, by=other), ACME) == GOOD


async def test_try_that_changes_nothing_is_told_to_nobody(scene: World) -> None:
    """Nor one that fails, or is refused as the one before was; a refusal and its end are, as what comes is."""
    changes: list[None] = []
    scene.refresher.changed = lambda: changes.append(None)

    async def after(answer: Answer) -> int:
        server.answer = answer
        tried = sum(scene.refresher.outcomes.values())
        scene.ledger.wanted = [server.url]
        await scene.until(lambda: sum(scene.refresher.outcomes.values()) > tried)
        found = len(changes)
        changes.clear()
        return found

    good = crl()
    async with serving(good) as server:
        assert await scene.check(leaf("alice", server.url)) == GOOD
        changes.clear()
        away = says(status="404 Not Found")
        answers = (
            away,
            says(body=good),
            says(body=HTML),
            says(body=HTML),
            away,
            says(body=crl(number=2, hours=1)),
            away,
        )
        assert [await after(one) for one in answers] == [0, 0, 1, 0, 0, 2, 0]


async def test_operator_can_have_a_source_tried_now(scene: World) -> None:
    """Long before it is due."""
    async with serving(crl()) as server:
        await scene.check(leaf("alice", server.url))
        scene.ledger.wanted = [server.url, "http://nobody.example/"]
        await scene.outcome(server.url, "unchanged")
    assert len(server.requests) == 2


async def test_operator_sees_sources_and_crls(scene: World) -> None:
    """As they are, after each change."""
    async with serving(crl()) as server:
        await scene.check(leaf("alice", server.url))
        await scene.until(lambda: scene.ledger.crls != [])
    assert scene.ledger.sources[server.url].outcome == "accepted"
    assert scene.ledger.crls[0].signer == spki(CA)


async def test_crl_out_of_date_is_told_once(scene: World) -> None:
    """Loudly enough to be found, and no more."""
    async with serving(crl(next_update=NOW + timedelta(minutes=1))) as server:
        await scene.check(leaf("alice", server.url))
    url = scene.refresher.sources[0].location
    for failures in (1, 2):
        scene.time.pass_by(minutes=20)
        await scene.until(lambda wanted=failures: scene.state(url).failures >= wanted)  # type: ignore[misc]
    await scene.until(lambda: any("out of date" in one for one in scene.warnings))
    assert sum("out of date" in one for one in scene.warnings) == 1
    assert await scene.check(leaf("alice", url)) == UNKNOWN


async def test_defect_in_a_try_is_told_and_tried_again_in_time(tmp_path: Path) -> None:
    """Not at every look, and not in silence."""
    async with world(tmp_path, start=False) as scene, serving(crl(CA, *range(1, 2_000))) as server:

        async def broken(*_: object) -> object:
            raise ZeroDivisionError

        scene.index = broken  # type: ignore[assignment]
        await scene.start()
        assert await scene.check(leaf("alice", server.url)) == UNKNOWN
        assert any("ZeroDivisionError" in one for one in scene.warnings)
        assert len(server.requests) == 1


async def test_refreshing_that_fails_is_told_and_begins_again(scene: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect must not end it in silence."""
    monkeypatch.setattr("authz.crls.refresher.RESTART_SECONDS", 0)

    async def broken() -> list[str]:
        raise ZeroDivisionError

    whole, scene.ledger.asked = scene.ledger.asked, broken  # type: ignore[method-assign]
    await scene.until(lambda: any("ZeroDivisionError" in one for one in scene.warnings))
    scene.ledger.asked = whole  # type: ignore[method-assign]
    async with serving(crl()) as server:
        assert await scene.check(leaf("alice", server.url)) == GOOD
        scene.time.pass_by(minutes=15)
        await scene.outcome(server.url, "unchanged")


# -- What the operator names -----------------------------------------------------------------------------


async def test_url_that_the_operator_names_is_asked_from_the_start(tmp_path: Path) -> None:
    """And the service is not ready before."""
    async with serving(crl()) as server, world(tmp_path, rules=CrlRules(urls=(server.url,))) as scene:
        state = await scene.outcome(server.url, "accepted")
        assert state.kind is CrlSourceKind.URL
        assert scene.refresher.ready
        assert await scene.check(PLAIN) == GOOD


async def test_readiness_waits_for_sources_though_not_for_ever(tmp_path: Path) -> None:
    """One that answers nothing keeps the service back for a while only."""
    async with serving(b"") as server, world(tmp_path, rules=CrlRules(urls=(server.url,)), start=False) as scene:
        server.answer = hangs()
        await scene.start()
        assert not scene.refresher.ready
        scene.time.pass_by(seconds=21)
        assert scene.refresher.ready


async def test_url_that_gave_a_crl_before_a_restart_is_asked_again_at_the_start(tmp_path: Path) -> None:
    """For what is new, and not only when it is due: readiness waits for that, not for its bound."""
    async with serving(crl()) as server, world(tmp_path, rules=CrlRules(urls=(server.url,))) as scene:
        await scene.outcome(server.url, "accepted")
        await scene.stop()
        server.answer = says(body=crl(CA, PLAIN, number=2, hours=1))
        await scene.start()
        assert not scene.refresher.ready
        await scene.outcome(server.url, "accepted")
        assert scene.refresher.ready
        assert await scene.check(PLAIN) == REVOKED


async def test_url_that_is_named_no_more_is_asked_no_more(tmp_path: Path) -> None:
    """What it gave is kept and counts."""
    async with serving(crl()) as server, world(tmp_path, rules=CrlRules(urls=(server.url,))) as scene:
        await scene.outcome(server.url, "accepted")
        await scene.stop()
        scene.rules = replace(scene.rules, urls=())
        await scene.start()
        assert scene.refresher.sources == []
        assert await scene.check(PLAIN) == GOOD


async def test_folder_without_files_keeps_readiness_waiting_for_nothing(tmp_path: Path) -> None:
    """It was looked at: that is its first try."""
    folder = tmp_path / "operators"
    folder.mkdir()
    async with world(tmp_path, rules=CrlRules(files=(folder,))) as scene:
        await scene.until(lambda: scene.refresher.ready)


async def test_service_that_has_no_sources_is_ready_at_once(scene: World) -> None:
    """There is nothing to wait for."""
    assert scene.refresher.ready


@pytest.mark.parametrize("pem", [False, True])
async def test_file_in_a_folder_is_noticed_when_it_comes_and_when_it_changes(tmp_path: Path, pem: bool) -> None:
    """Without a restart; a change to something worse leaves the one held, and a file that goes leaves it too."""
    folder = tmp_path / "operators"
    folder.mkdir()
    async with world(tmp_path, rules=CrlRules(files=(folder,))) as scene:
        file = folder / "ca.crl"
        file.write_bytes(as_pem(crl()) if pem else crl())
        await scene.outcome(file, "accepted")
        assert await scene.check(PLAIN) == GOOD
        file.write_bytes(HTML)
        assert (await scene.outcome(file, "not_a_crl")).failures == 1
        assert await scene.check(PLAIN) == GOOD
        file.write_bytes(crl(CA, PLAIN, number=2, hours=1))
        await scene.outcome(file, "accepted")
        assert await scene.check(PLAIN) == REVOKED
        file.unlink()
        await scene.until(lambda: scene.refresher.sources == [])
        assert await scene.check(PLAIN) == REVOKED


async def test_file_that_is_not_there_is_told_and_read_when_it_comes(tmp_path: Path) -> None:
    """The service starts all the same."""
    file = tmp_path / "ca.crl"
    async with world(tmp_path, rules=CrlRules(files=(file,))) as scene:
        await scene.outcome(file, "file")
        assert scene.refresher.ready
        file.write_bytes(crl())
        await scene.outcome(file, "accepted")


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Files are copied at once, and their copies at hand when this is set."""
    free, copy = threading.Event(), files.copy

    def slowly(*arguments: Any) -> Path:
        try:
            return copy(*arguments)
        finally:
            free.wait()

    monkeypatch.setattr(files, "copy", slowly)
    yield free
    free.set()


async def test_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path, held_back: threading.Event) -> None:
    """However long the try of what was there before takes."""
    file, other = tmp_path / "ca.crl", tmp_path / "new"
    file.write_bytes(crl())
    async with world(tmp_path, rules=CrlRules(files=(file,))) as scene:
        await scene.until(lambda: any(one.tried_at for one in scene.refresher.sources))
        other.write_bytes(crl(CA, PLAIN, number=2, hours=1))
        new = other.stat().st_ino
        other.replace(file)
        await scene.until(lambda: (scene.refresher._files._stamps[file] or (0, 0))[1] == new)
        held_back.set()
        async with asyncio.timeout(60):
            while await scene.check(PLAIN) != REVOKED:
                await asyncio.sleep(0.01)


async def test_file_that_goes_while_it_is_read_refuses_nothing(tmp_path: Path, held_back: threading.Event) -> None:
    """What came of it is nobody's any more."""
    folder = tmp_path / "operators"
    folder.mkdir()
    file = folder / "ca.crl"
    file.write_bytes(HTML * 9)
    async with world(tmp_path, rules=CrlRules(files=(folder,))) as scene:
        await scene.until(lambda: any(one.tried_at for one in scene.refresher.sources))
        file.unlink()
        await scene.until(lambda: scene.refresher.sources == [])
        held_back.set()
        await scene.until(lambda: sum(scene.refresher.outcomes.values()) == 1)
        assert not scene.refresher._flights.refused


async def test_files_that_hang_keep_nothing_else_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are; their network file system answers some day."""
    network, local, free = tmp_path / "network", tmp_path / "local", threading.Event()
    for folder in (network, local):
        folder.mkdir()
    for number in range(40):
        (network / f"{number}.crl").write_bytes(crl())
    (local / "other.crl").write_bytes(HTML)
    copy = files.copy

    def slowly(path: Path, *arguments: Any) -> Path:
        if path.parent == network:
            free.wait()
        return copy(path, *arguments)

    monkeypatch.setattr(files, "copy", slowly)
    monkeypatch.setattr(trial, "COPY_SECONDS", 0.01)
    async with serving(crl()) as server:
        try:
            async with world(tmp_path, rules=CrlRules(files=(network, local), urls=(server.url,))) as scene:
                await scene.until(lambda: len(scene.refresher.sources) == 42)
                await scene.outcome(server.url, "accepted")
                await scene.outcome(local / "other.crl", "not_a_crl")
                assert await scene.check(PLAIN) == GOOD
                free.set()
                await scene.until(lambda: all(one.outcome for one in scene.refresher.sources))
        finally:
            free.set()


# -- After a restart -------------------------------------------------------------------------------------


async def test_crl_survives_a_restart_while_its_server_is_away(scene: World) -> None:
    """And its source goes on being asked."""
    async with serving(crl()) as server:
        assert await scene.check(leaf("alice", server.url)) == GOOD
    await scene.stop()
    scene.rows.cas = []
    await scene.start()
    assert await scene.check(leaf("alice", server.url)) == GOOD
    assert scene.state(server.url).accepted_at == NOW
    scene.time.pass_by(minutes=15)
    await scene.outcome(server.url, "connect")


async def test_copy_that_was_tampered_with_is_set_aside_and_told(scene: World) -> None:
    """It is trusted for nothing, and another source brings the CRL again."""
    async with serving(crl()) as server:
        alice = leaf("alice", server.url)
        await scene.check(alice)
        await scene.stop()
        [copy] = scene.folder.glob("*.crl")
        copy.write_bytes(crl(Authority.root("CA")))
        await scene.start()
        assert any("set aside" in one for one in scene.warnings)
        assert scene.refresher.fetched == []
        assert await scene.check(alice) == GOOD


async def test_older_crl_is_refused_after_a_restart_too(scene: World) -> None:
    """What was held is what it must not go back against."""
    async with serving(crl(number=5)) as server:
        await scene.check(leaf("alice", server.url))
        await scene.stop()
        server.answer = says(body=crl(number=4, hours=10))
        await scene.start()
        scene.time.pass_by(minutes=15)
        await scene.outcome(server.url, "older")


async def test_crl_that_never_ends_survives_a_restart(scene: World) -> None:
    """Nothing can be counted on from the last moment there is (RFC 5280 section 4.1.2.5: 99991231235959Z)."""
    async with serving(crl(next_update=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))) as server:
        alice = leaf("alice", server.url)
        assert await scene.check(alice) == GOOD
        await scene.stop()
        await scene.start()
        assert await scene.check(alice) == GOOD


async def test_copy_long_out_of_date_is_thrown_away(scene: World) -> None:
    """A point that nobody names any more does not fill the disk."""
    async with serving(crl()) as server:
        await scene.check(leaf("alice", server.url))
    await scene.stop()
    scene.time.pass_by(days=60)
    await scene.start()
    assert list(scene.folder.glob("*.crl")) == []


async def test_crl_that_cannot_be_kept_is_used_and_told(scene: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest counts; the next try keeps it."""
    async with serving(crl()) as server:
        alice = leaf("alice", server.url)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        server.answer = says('ETag: "1"\r\n', crl())
        with monkeypatch.context() as patched:
            patched.setattr("authz.crls.disk_store.os.fsync", full)
            assert await scene.check(alice) == GOOD
            state = scene.state(server.url)
            assert (state.outcome, state.failures) == ("storage", 1)
            assert "make room" in state.detail
        scene.time.pass_by(seconds=30)
        await scene.outcome(server.url, "unchanged")
        assert "If-None-Match" not in server.requests[-1]
    assert len(list(scene.folder.glob("*.crl"))) == 1


# -- The directory's own -----------------------------------------------------------------------------------


async def test_crl_added_to_the_directory_counts_and_goes_with_it(scene: World) -> None:
    """Told by its revision."""
    scene.rows.added.append((crl(), CA))
    scene.refresher.directory_read(2)
    await scene.until(lambda: len(scene.held()) == 2)
    assert await scene.check(PLAIN) == GOOD
    scene.rows.added.pop()
    scene.refresher.directory_read(3)
    await scene.until(lambda: scene.held() == sha256(crl(ROOT)) or len(scene.held()) == 1)
    assert await scene.check(PLAIN) == UNKNOWN


async def test_crl_older_than_the_directorys_is_not_taken(scene: World) -> None:
    """Whoever serves an old one cannot undo what the operator added."""
    scene.rows.added.append((crl(CA, PLAIN, number=5), CA))
    scene.refresher.directory_read(2)
    await scene.until(lambda: len(scene.held()) == 2)
    async with serving(crl(number=4, hours=10)) as server:
        other = leaf("other", server.url)
        assert await scene.check(other) == GOOD
        await scene.outcome(server.url, "older")
    assert await scene.check(PLAIN) == REVOKED


async def test_replay_of_the_directorys_older_crl_replaces_nothing_newer(scene: World) -> None:
    """That it is held as well, from when an operator added it, is no reason to go back."""
    alice = leaf("alice")
    old = crl(number=1, hours=9)
    scene.rows.added.append((old, CA))
    scene.refresher.directory_read(2)
    await scene.until(lambda: len(scene.held()) == 2)
    async with serving(b"") as server:
        bob = leaf("bob", server.url)
        server.answer = says(body=crl(CA, alice, number=2, hours=5))
        assert await scene.check(bob) == GOOD
        await scene.outcome(server.url, "accepted")
        assert await scene.check(alice) == REVOKED
        server.answer = says(body=old)
        tried = sum(scene.refresher.outcomes.values())
        scene.ledger.wanted = [server.url]
        await scene.until(lambda: sum(scene.refresher.outcomes.values()) > tried)
        assert scene.state(server.url).outcome == "older"
        assert await scene.check(alice) == REVOKED


async def test_crl_added_to_the_directory_is_measured_and_told_when_it_is_out_of_date(scene: World) -> None:
    """As long as nothing newer of its place is held: then it answers for nobody."""
    scene.rows.added.append((crl(next_update=NOW + timedelta(hours=1)), CA))
    scene.refresher.directory_read(2)
    await scene.until(lambda: len(scene.held()) == 2)
    assert {(one.issuer, one.location) for one in scene.refresher.answering} == {
        ("CN=Root", "added"),
        ("CN=CA", "added"),
    }
    scene.time.pass_by(hours=2)
    await scene.until(lambda: any("CN=CA" in one and "out of date" in one for one in scene.warnings))
    assert sum("out of date" in one for one in scene.warnings) == 1
    async with serving(crl(number=2, hours=1)) as server:
        assert await scene.check(leaf("alice", server.url)) == GOOD
    assert {(one.issuer, one.number) for one in scene.refresher.answering} == {("CN=Root", "1"), ("CN=CA", "2")}
    assert [one.location for one in scene.refresher.fetched] == [server.url]


async def test_fetched_crl_that_an_added_one_supersedes_is_not_told_when_it_is_out_of_date(scene: World) -> None:
    """Nobody is refused for it."""
    async with serving(crl(next_update=NOW + timedelta(hours=1))) as server:
        assert await scene.check(leaf("alice", server.url)) == GOOD
        scene.rows.added.append((crl(number=2, hours=1), CA))
        scene.refresher.directory_read(2)
        await scene.until(lambda: len(scene.held()) == 3)
        scene.time.pass_by(hours=2)
        await scene.outcome(server.url, "unchanged")
    scene.time.pass_by(days=9)
    await scene.until(lambda: any("out of date" in one for one in scene.warnings))
    assert not any("CRL number 1 of CN=CA" in one for one in scene.warnings)


async def test_directory_that_cannot_be_read_refuses_the_start(tmp_path: Path) -> None:
    """Nothing is decided without it."""
    async with world(tmp_path, start=False) as scene:

        async def away() -> list[object]:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE)

        scene.rows.listed = away  # type: ignore[method-assign,assignment]
        with pytest.raises(Refused):
            await scene.start()


# -- What is let pass ----------------------------------------------------------------------------------------


async def test_hard_is_the_default(scene: World) -> None:
    """Nothing is let pass, and no check asks."""
    assert scene.refresher.mode_of(ACME) is None
    assert not any("unsafe" in one for one in scene.warnings)


async def test_grace_goes_on_with_the_last_good_copy_for_as_long_as_it_says(tmp_path: Path) -> None:
    """The server is away for longer than nextUpdate."""
    rules = CrlRules(mode=RevocationMode(grace=timedelta(hours=2)))
    async with world(tmp_path, rules=rules) as scene:
        async with serving(crl(next_update=NOW + timedelta(hours=1))) as server:
            alice = leaf("alice", server.url)
            assert await scene.check(alice) == GOOD
        outcomes = []
        for _ in range(4):
            outcomes.append(await scene.check(alice))
            scene.time.pass_by(minutes=59)
        assert outcomes == [GOOD, GOOD, Exemption.GRACE, Exemption.GRACE]
        assert await scene.check(alice) == UNKNOWN


async def test_grace_longer_than_copies_are_kept_keeps_them_longer(tmp_path: Path) -> None:
    """A restart takes nothing from it; whoever has a grace of his own counts."""
    longest = ModeRule(RevocationMode(grace=timedelta(days=90)), issuer=Name(CA.certificate.subject))
    rules = CrlRules(exceptions=(ModeRule(RevocationMode(), organization="evil"), longest))
    async with world(tmp_path, rules=rules) as scene:
        scene.rows.added = [(crl(ROOT, next_update=NOW + timedelta(days=999)), ROOT)]
        scene.refresher.directory_read(2)
        alice = CA.leaf("alice", not_after=NOW + timedelta(days=999))
        async with serving(crl()) as server:
            assert await scene.check(leaf("bob", server.url)) == GOOD
        await scene.stop()
        scene.time.pass_by(days=80)
        await scene.start()
        assert await scene.check(alice) == Exemption.GRACE


async def test_soft_lets_pass_whose_crl_cannot_be_had(tmp_path: Path) -> None:
    """Once it was tried; and every start warns."""
    async with (
        world(tmp_path, rules=CrlRules(mode=RevocationMode(soft=True))) as scene,
        serving(b"") as server,
    ):
        server.answer = says(status="404 Not Found")
        assert await scene.check(leaf("alice", server.url)) == Exemption.SOFT_FAIL
        assert len(server.requests) == 1
        assert any("unsafe_soft_fail" in one for one in scene.warnings)


ASTRAY = crl(CA, *range(1, 4_000)).replace(b"\x06\x03\x55\x04\x03", b"\x06\xee\x55\x04\x03", 1)
"""A large CRL in whose issuer's name a length leads beyond it."""


@pytest.mark.parametrize("body", [HTML, crl(Authority.root("CA"), number=9), b"", crl(hours=-1), ASTRAY])
async def test_soft_does_not_cover_a_crl_that_was_refused(tmp_path: Path, body: bytes) -> None:
    """Whoever can put rubbish in its place could switch revocation off."""
    async with (
        world(tmp_path, rules=CrlRules(mode=RevocationMode(soft=True))) as scene,
        serving(body) as server,
    ):
        assert await scene.check(leaf("alice", server.url)) == UNKNOWN
        server.answer = says(body=crl())
        scene.time.pass_by(seconds=30)
        await scene.outcome(server.url, "accepted")
        assert await scene.check(leaf("alice", server.url)) == GOOD


async def test_refused_crl_of_a_source_the_operator_named_is_refused_for_its_issuer(tmp_path: Path) -> None:
    """By the name it bears; a distribution point of somebody else's says nothing about him."""
    foreign = crl(Authority.root("CA"), number=9)
    soft = RevocationMode(soft=True)
    async with serving(foreign) as server, world(tmp_path, rules=CrlRules(mode=soft)) as scene:
        assert await scene.check(leaf("mallory", server.url), EVIL) == UNKNOWN
        assert await scene.check(PLAIN) == Exemption.SOFT_FAIL
    async with (
        serving(b"") as server,
        world(tmp_path, rules=CrlRules(urls=(server.url,), mode=soft)) as scene,
    ):
        server.answer = says(body=crl(number=5))
        scene.ledger.wanted = [server.url]
        await scene.outcome(server.url, "accepted")
        server.answer = says(body=foreign)
        scene.time.pass_by(days=9)
        await scene.outcome(server.url, "signer_unknown")
        assert await scene.check(PLAIN) == UNKNOWN


async def test_crl_refused_from_a_point_is_refused_for_its_organizations_other_certificates(tmp_path: Path) -> None:
    """Those that name no point, or another one; a neighbour's are told by his own points."""
    async with (
        serving(crl(hours=-1)) as server,
        world(tmp_path, rules=CrlRules(mode=RevocationMode(soft=True))) as scene,
    ):
        assert await scene.check(leaf("alice", server.url)) == UNKNOWN
        assert await scene.check(PLAIN) == UNKNOWN
        assert await scene.check(PLAIN, EVIL) == Exemption.SOFT_FAIL
        server.answer = says(body=crl())
        scene.ledger.wanted = [server.url]
        await scene.outcome(server.url, "accepted")
        assert await scene.check(PLAIN) == GOOD


async def test_first_crl_of_a_named_source_that_is_refused_is_refused_for_its_issuer(tmp_path: Path) -> None:
    """It was never accepted, so that nothing but its own name says whose it was meant to be."""
    many = range(1, 4_000)
    for foreign in (crl(Authority.root("CA"), number=9), crl(Authority.root("CA"), *many, number=9)):
        async with serving(foreign) as server:
            rules = CrlRules(urls=(server.url,), mode=RevocationMode(soft=True))
            async with world(tmp_path / str(len(foreign)), rules=rules) as scene:
                await scene.outcome(server.url, "signer_unknown")
                assert await scene.check(PLAIN) == UNKNOWN


async def test_rubbish_from_a_url_the_operator_named_may_be_anybodys(tmp_path: Path) -> None:
    """As long as it never gave anything that says whose it is."""
    async with serving(HTML) as server:
        rules = CrlRules(urls=(server.url,), mode=RevocationMode(soft=True))
        async with world(tmp_path, rules=rules) as scene:
            await scene.outcome(server.url, "not_a_crl")
            assert await scene.check(PLAIN) == UNKNOWN


async def test_refused_file_that_is_taken_away_is_refused_no_more(tmp_path: Path) -> None:
    """The operator has mended it; no restart is needed."""
    file = tmp_path / "crls.d" / "ca.crl"
    file.parent.mkdir()
    file.write_bytes(crl(hours=-1))
    rules = CrlRules(files=(file.parent,), mode=RevocationMode(soft=True))
    async with world(tmp_path, rules=rules) as scene:
        await scene.outcome(file, "not_yet")
        assert await scene.check(PLAIN) == UNKNOWN
        file.unlink()
        await scene.until(lambda: not scene.refresher.sources)
        assert await scene.check(PLAIN) == Exemption.SOFT_FAIL


async def test_named_source_that_gives_rubbish_after_a_restart_is_refused_for_its_issuer(tmp_path: Path) -> None:
    """Whose CRL it gives is known from the copy that was kept."""
    async with serving(crl()) as server:
        rules = CrlRules(urls=(server.url,), mode=RevocationMode(soft=True))
        async with world(tmp_path, rules=rules) as scene:
            await scene.outcome(server.url, "accepted")
            await scene.stop()
            server.answer = says(body=HTML)
            scene.time.pass_by(days=9)
            await scene.start()
            await scene.outcome(server.url, "not_a_crl")
            assert await scene.check(PLAIN) == UNKNOWN


async def test_crl_that_was_refused_stays_so_while_its_server_is_away(tmp_path: Path) -> None:
    """Whoever is between us and the server may send rubbish first and nothing afterwards."""
    async with (
        world(tmp_path, rules=CrlRules(mode=RevocationMode(soft=True))) as scene,
        serving(HTML) as server,
    ):
        alice = leaf("alice", server.url)
        assert await scene.check(alice) == UNKNOWN
        server.answer = says(status="404 Not Found")
        scene.ledger.wanted = [server.url]
        await scene.outcome(server.url, "status")
        assert await scene.check(alice) == UNKNOWN
        server.answer = says(body=crl())
        scene.ledger.wanted = [server.url]
        await scene.outcome(server.url, "accepted")
        assert await scene.check(alice) == GOOD


async def test_exception_is_for_its_issuer_and_organization_alone(tmp_path: Path) -> None:
    """The most precise one counts."""
    name = Name(CA.certificate.subject)
    exceptions = (
        ModeRule(RevocationMode(soft=True), issuer=name),
        ModeRule(RevocationMode(), issuer=name, organization="evil"),
    )
    async with world(tmp_path, rules=CrlRules(exceptions=exceptions)) as scene:
        assert await scene.check(PLAIN, ACME) == Exemption.SOFT_FAIL
        assert await scene.check(PLAIN, EVIL) == UNKNOWN
        assert any("unsafe_soft_fail is on for CN=CA" in one for one in scene.warnings)


# -- Size ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_large_crl_is_indexed_elsewhere_and_answers(scene: World) -> None:
    """From a source, from the directory, and after a restart."""
    many = range(1, 4_000)
    scene.rows.added[0] = (crl(ROOT, *many), ROOT)
    scene.refresher.directory_read(2)
    async with serving(b"") as server:
        alice = leaf("alice", server.url)
        server.answer = says(body=crl(CA, *many, alice))
        await scene.until(lambda: any(one.der is None for one in scene.refresher.crls()))
        assert await scene.check(alice) == REVOKED
        assert await scene.check(leaf("bob", server.url)) == GOOD
        assert all(one.der is None or len(one.index) == 0 for one in scene.refresher.crls())
    await scene.stop()
    await scene.start()
    assert await scene.check(alice) == REVOKED


async def test_tries_of_one_organizations_points_leave_room_for_others(tmp_path: Path) -> None:
    """Slow servers of one keep another's first sight from nothing."""
    async with world(tmp_path) as scene, serving(b"") as slow, serving(crl()) as server:
        slow.answer = hangs()
        theirs = [asyncio.create_task(scene.check(leaf("m", f"{slow.url}?{n}"), EVIL)) for n in range(40)]
        await slow.came.wait()
        assert await scene.check(leaf("alice", server.url), ACME) == GOOD
        assert not all(one.done() for one in theirs)
        for one in theirs:
            one.cancel()
        await asyncio.gather(*theirs, return_exceptions=True)


async def test_point_that_another_organization_names_behind_slow_ones_of_its_own_is_asked_at_once(
    tmp_path: Path,
) -> None:
    """Whoever names it has a turn for it, and what it gives serves those who wait for it."""
    async with world(tmp_path) as scene, serving(b"") as slow, serving(b"") as slow_too, serving(crl()) as server:
        slow.answer = slow_too.answer = hangs()
        urls = [f"{one.url}?{number}" for number in range(32) for one in (slow, slow_too)]
        theirs = [asyncio.create_task(scene.check(leaf("m", url), EVIL)) for url in [*urls[:63], server.url]]
        await slow_too.came.wait()
        await scene.until(lambda: len(scene.refresher.sources) == 64)
        assert server.requests == []
        assert await scene.check(leaf("alice", server.url), ACME) == GOOD
        assert await theirs.pop() == GOOD
        assert not all(one.done() for one in theirs)
        for one in theirs:
            one.cancel()
        await asyncio.gather(*theirs, return_exceptions=True)


@pytest.mark.slow
async def test_large_crls_of_one_organization_keep_anothers_from_being_read_no_more_than_one_does(
    tmp_path: Path,
) -> None:
    """Few are read at once: an organization waits for its own."""
    evil = [ROOT.intermediate(name) for name in ("Evil 1", "Evil 2")]
    async with world(tmp_path, start=False) as scene:
        scene.rows.cas += evil
        scene.trust = TrustStore([Certificate.parse(ROOT.der)], [Certificate.parse(one.der) for one in (CA, *evil)])

        async def slowly(source: Path | int, keys: Collection[bytes]) -> Crl:
            if Certificate.parse(CA.der).spki_der not in keys:
                await asyncio.Event().wait()
            return await index_crl(source, keys)

        scene.index = slowly
        await scene.start()
        many = range(1, 2_000)
        async with serving(crl(evil[0], *many)) as first, serving(crl(evil[1], *many)) as second:
            for server, by in zip((first, second), evil, strict=True):
                path = tuple(one.der for one in (leaf("m", server.url, by=by), by, ROOT))
                scene.refresher.met(EVIL.id, path)
                await server.came.wait()
            async with serving(crl(CA, *many)) as server:
                assert await scene.check(leaf("alice", server.url)) == GOOD


async def test_ca_that_comes_while_a_point_is_tried_is_not_forgotten(tmp_path: Path) -> None:
    """What was refused for want of it is asked for again at once: the other organization's path had another CA."""
    other = ROOT.intermediate("Other")
    async with world(tmp_path, start=False) as scene, serving(crl()) as server:
        alice = tuple(one.der for one in (leaf("alice", server.url), CA, ROOT))
        mallory = tuple(one.der for one in (leaf("mallory", server.url, by=other), other, ROOT))

        async def late() -> list[bytes]:
            if server.requests:
                scene.refresher.met(ACME.id, alice)
            return []

        scene.rows.authorities = late  # type: ignore[method-assign]
        await scene.start()
        scene.refresher.met(EVIL.id, mallory)
        await scene.outcome(server.url, "accepted")
        assert len(server.requests) == 2


def as_pem(der: bytes) -> bytes:
    """The CRL as operators often have it."""
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


# -- How far others may rely on it ------------------------------------------------------------------------


async def test_crls_of_the_directory_that_are_not_taken_over_yet_hold_the_moment(scene: World) -> None:
    """Whoever looks at them from another process may not be told that he knows everything."""
    assert scene.refresher.current_at(7.0) == 7.0
    scene.time.seconds = 8.0
    scene.rows.problem = Refused(Reason.DIRECTORY_UNAVAILABLE, "away")
    listed, scene.rows.listed = scene.rows.listed, scene.rows.authorities  # type: ignore[assignment, method-assign]
    for revision in (2, 3):
        scene.refresher.directory_read(revision)
        await asyncio.sleep(0)
    scene.time.seconds = 11.0
    assert scene.refresher.current_at(10.0) == 8.0
    scene.rows.problem, scene.rows.listed = None, listed  # type: ignore[method-assign]
    await scene.until(lambda: scene.refresher.directory_read(3) or scene.refresher.current_at(10.0) == 10.0)
