"""One try of a source after another: what it gives, what is refused, and whose turn it is."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from support.certificates import NOW, Authority
from support.crl_server import Answer, dribbles, hangs, raw, resets, says
from support.crl_world import ACME, CA, EVIL, GOOD, ROOT, World, crl, leaf, serving, world

from authz.crls import refresh_job as trial
from authz.crls import watched_files as files
from authz.crls.indexing.client import index_crl
from authz.crls.rules import CrlRules
from authz.pki import Certificate, Crl, TrustStore
from authz.reasons import Reason

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN
PLAIN = CA.leaf("alice")
HTML = b"<!doctype html><title>Sign in</title>"


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


UNREADABLE = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]


@pytest.mark.parametrize("more", [{"extensions": UNREADABLE}, {"next_update": NOW - timedelta(minutes=1)}])
async def test_crl_that_proves_no_certificate_good_revokes_what_it_lists(scene: World, more: dict[str, Any]) -> None:
    """The others pass by the one held; after a restart too, and until a good one comes that lists no more."""
    async with serving(b"") as server:
        alice, bob = leaf("alice", server.url), leaf("bob", server.url)
        server.answer = says('ETag: "v1"\r\n', crl())
        assert (await scene.check(alice), await scene.check(bob)) == (GOOD, GOOD)
        server.answer = says('ETag: "v2"\r\n', crl(CA, bob, number=2, hours=1, **more))
        for failures in (1, 2):
            scene.time.pass_by(minutes=15)
            await scene.until(lambda failures=failures: scene.state(server.url).failures == failures)  # type: ignore[misc]
            assert scene.state(server.url).outcome == "unusable"
            assert (await scene.check(alice), await scene.check(bob)) == (GOOD, REVOKED)
        await scene.stop()
        await scene.start()
        assert (await scene.check(alice), await scene.check(bob)) == (GOOD, REVOKED)
        server.answer = says(body=crl(number=3, hours=0.5))
        scene.time.pass_by(minutes=15)
        await scene.outcome(server.url, "accepted")
        assert (await scene.check(alice), await scene.check(bob)) == (GOOD, GOOD)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (says(status="404 Not Found"), "status"),
        (says(status="500 Internal Server Error"), "status"),
        (says("Location: http://169.254.169.254/latest/meta-data\r\n", status="302 Found"), "redirect"),
        (says("Content-Encoding: gzip\r\n", gzip.compress(bytes(10_000_000), 1)), "encoding"),
        (says(length=200 * 1024 * 1024), "too_large"),
        (says(body=crl()[:50], length=len(crl())), "truncated"),
        (resets(), "reset"),
        (resets(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n0"), "truncated"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), "protocol"),
        (hangs(), "timeout"),
        (dribbles(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"0"), "timeout"),
    ],
)
@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    monkeypatch.setattr("authz.crls.quota.MAX_BYTES_EACH", len(crl()) * 3 // 2)
    async with serving(crl()) as first, serving(crl(other)) as second:
        assert await scene.check(leaf("alice", first.url)) == GOOD
        assert await scene.check(leaf("alice", second.url, by=other)) == UNKNOWN
        assert scene.state(second.url).outcome == "too_large"
    async with serving(crl(other)) as third:
        assert await scene.check(leaf("alice", third.url, by=other), EVIL) == GOOD


async def test_point_that_another_organization_named_first_counts_for_any_that_has_room(
    scene: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An organization that has used up its share must not take others' points with it by naming them as its own."""
    other = ROOT.intermediate("Other")
    scene.rows.cas.append(other)
    scene.trust = TrustStore([Certificate.parse(ROOT.der)], [Certificate.parse(one.der) for one in (CA, other)])
    monkeypatch.setattr("authz.crls.quota.MAX_BYTES_EACH", len(crl()) * 3 // 2)
    async with serving(crl()) as first, serving(crl(other)) as second:
        assert await scene.check(leaf("mallory", first.url), EVIL) == GOOD
        assert await scene.check(leaf("mallory", second.url, by=other), EVIL) == UNKNOWN
        assert scene.state(second.url).outcome == "too_large"
        assert await scene.check(leaf("alice", second.url, by=other), ACME) == GOOD


async def test_try_that_changes_nothing_is_reported_to_no_subscriber(scene: World) -> None:
    """Nor one that fails, or is refused as the one before was; a refusal and its end are, as what comes is."""
    changes: list[None] = []
    scene.refresher.set_on_change(lambda: changes.append(None))

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


async def test_defect_in_a_try_is_reported_and_tried_again_in_time(tmp_path: Path) -> None:
    """Not at every look, and not in silence."""
    async with world(tmp_path, start=False) as scene, serving(crl(CA, *range(1, 2_000))) as server:

        async def broken(*_: object) -> object:
            raise ZeroDivisionError

        scene.index = broken  # type: ignore[assignment]
        await scene.start()
        assert await scene.check(leaf("alice", server.url)) == UNKNOWN
        assert any("ZeroDivisionError" in one for one in scene.warnings)
        assert len(server.requests) == 1


@pytest.fixture
def held_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Files are copied at once, and their copies at hand when this is set."""
    free, copy = threading.Event(), files.copy_file

    def slowly(*arguments: Any) -> Path:
        try:
            return copy(*arguments)
        finally:
            free.wait()

    monkeypatch.setattr(files, "copy_file", slowly)
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
    """No job uses its result any more."""
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
        assert not scene.refresher._jobs.refused


async def test_files_that_hang_keep_nothing_else_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are; their network file system answers some day."""
    network, local, free = tmp_path / "network", tmp_path / "local", threading.Event()
    for folder in (network, local):
        folder.mkdir()
    for number in range(40):
        (network / f"{number}.crl").write_bytes(crl())
    (local / "other.crl").write_bytes(HTML)
    copy = files.copy_file

    def slowly(path: Path, *arguments: Any) -> Path:
        if path.parent == network:
            free.wait()
        return copy(path, *arguments)

    monkeypatch.setattr(files, "copy_file", slowly)
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
    """Each organization that names it has a turn for it, and its answer serves all that wait for it."""
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
                scene.refresher.path_seen(EVIL.id, path)
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
                scene.refresher.path_seen(ACME.id, alice)
            return []

        scene.rows.authorities = late  # type: ignore[method-assign]
        await scene.start()
        scene.refresher.path_seen(EVIL.id, mallory)
        await scene.outcome(server.url, "accepted")
        assert len(server.requests) == 2
