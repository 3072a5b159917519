"""CRLs that stay fresh by themselves, from every source, and what checks see of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import NOW, Authority
from support.crl_server import hangs, says
from support.crl_world import ACME, CA, EVIL, GOOD, ROOT, World, crl, leaf, points, serving, spki, world

from authz.crls.load_keys import CrlsKey, PointsKey
from authz.crls.rules import CrlRules
from authz.errors import NotLoaded, Refused
from authz.model import CrlSourceKind, CrlSourceState
from authz.pki import Certificate, TrustStore
from authz.reasons import Reason

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN
PLAIN = CA.leaf("alice")
HTML = b"<!doctype html><title>Sign in</title>"


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


async def test_point_that_fails_is_remembered_and_no_check_waits_again(scene: World) -> None:
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


@pytest.mark.slow
async def test_point_that_is_too_slow_denies_in_time_and_serves_later(tmp_path: Path) -> None:
    """The first check waits for its share, the next not at all; what comes in the end counts."""
    async with world(tmp_path, rules=CrlRules(first_fetch_wait=0.05)) as scene, serving(b"") as server:
        server.answer = hangs()
        alice = leaf("alice", server.url)
        assert await scene.check(alice) == UNKNOWN
        with pytest.raises(Refused):
            scene.verify(alice)
        await scene.outcome(server.url, "timeout")


async def test_checks_of_one_organization_wait_in_a_queue_of_their_own(scene: World) -> None:
    """Those that wait for a slow distribution point keep no row waiting."""
    async with serving(crl()) as server:
        with pytest.raises(NotLoaded) as caught:
            scene.verify(leaf("alice", server.url))
        assert caught.value.key == PointsKey(ACME.id, (server.url,))
        assert caught.value.key.queue == ("points", ACME.id)
        assert PointsKey(EVIL.id, ()).queue != caught.value.key.queue


async def test_points_of_an_organization_are_bounded(tmp_path: Path) -> None:
    """An organization that has more learns so, and another has its own."""
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


async def test_clock_that_has_gone_back_leaves_no_source_unasked(scene: World) -> None:
    """What was to be asked at a time that now lies days ahead is asked now."""
    scene.time.pass_by(days=3)
    async with serving(crl(next_update=NOW + timedelta(days=9))) as server:
        assert await scene.check(leaf("alice", server.url)) == GOOD
        scene.time.pass_by(days=-2)
        await scene.outcome(server.url, "unchanged")


async def test_operator_can_have_a_source_tried_now(scene: World) -> None:
    """Long before it is due."""
    async with serving(crl()) as server:
        await scene.check(leaf("alice", server.url))
        scene.ledger.wanted = [server.url, "http://nobody.example/"]
        await scene.outcome(server.url, "unchanged")
    assert len(server.requests) == 2


def differs(before: CrlSourceState, after: CrlSourceState) -> bool:
    """Whether the source was tried to the end since."""
    return (before.failures, before.accepted_at) != (after.failures, after.accepted_at)


async def test_ca_that_counts_anew_is_followed_once_an_operator_says_so(scene: World) -> None:
    """The CRL held goes with the first of the new count; what the CA issued before is refused as ever."""
    async with serving(crl(CA, PLAIN, number=905, hours=5)) as server:
        alice = leaf("alice", server.url)
        assert await scene.check(alice) == GOOD

        async def given(made: bytes, outcome: str) -> None:
            before = scene.state(server.url)
            server.answer = says(body=made)
            scene.time.pass_by(seconds=1)
            scene.ledger.wanted = [server.url]
            await scene.until(lambda: differs(before, scene.state(server.url)))
            assert scene.state(server.url).outcome == outcome

        anew = crl(number=1, hours=4)
        await given(anew, "disagrees")
        assert await scene.check(PLAIN) == REVOKED
        scene.ledger.renumbered = {"http://other.example/": NOW}
        await given(anew, "disagrees")
        scene.ledger.renumbered = {server.url: NOW - timedelta(hours=4.5)}
        await given(crl(number=904, hours=6), "older")
        await given(crl(number=1, hours=6), "older")
        await given(anew, "accepted")
        assert [one.number for one in scene.refresher.fetched] == ["1"]
        assert await scene.check(PLAIN) == GOOD
        await given(crl(CA, PLAIN, number=905, hours=5), "disagrees")
        await given(crl(number=906, hours=4.2), "disagrees")
        await given(crl(CA, PLAIN, number=2, hours=3), "accepted")
        await given(crl(number=1, hours=2), "disagrees")
    assert await scene.check(PLAIN) == REVOKED


async def test_crl_that_was_added_keeps_its_number_where_the_ca_counts_anew(scene: World) -> None:
    """An operator takes it away by hand."""
    scene.rows.added.append((crl(number=905, hours=5), CA))
    scene.refresher.directory_read(2)
    await scene.until(lambda: len(scene.held()) == 2)
    async with serving(crl(number=1, hours=4)) as server:
        scene.ledger.renumbered = {server.url: NOW}
        await scene.check(leaf("alice", server.url))
        await scene.outcome(server.url, "disagrees")


async def test_operator_sees_sources_and_crls(scene: World) -> None:
    """As they are, after each change."""
    async with serving(crl()) as server:
        await scene.check(leaf("alice", server.url))
        await scene.until(lambda: scene.ledger.crls != [])
    assert scene.ledger.sources[server.url].outcome == "accepted"
    assert scene.ledger.crls[0].signer == spki(CA)


async def test_refreshing_that_fails_is_logged_and_begins_again(scene: World, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_file_that_is_not_there_is_reported_and_read_when_it_comes(tmp_path: Path) -> None:
    """The service starts all the same."""
    file = tmp_path / "ca.crl"
    async with world(tmp_path, rules=CrlRules(files=(file,))) as scene:
        await scene.outcome(file, "file")
        assert scene.refresher.ready
        file.write_bytes(crl())
        await scene.outcome(file, "accepted")


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


def as_pem(der: bytes) -> bytes:
    """The CRL as operators often have it."""
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)
