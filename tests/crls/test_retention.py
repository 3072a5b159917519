"""Nothing of an organization outlives it, and nothing that another needs goes with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.certificates import NOW
from support.crl_server import hangs, says
from support.crl_world import ACME, CA, EVIL, GOOD, ROOT, World, crl, leaf, points, serving, world

from authz.crls.rules import CrlRules
from authz.crls.sightings import MET_FOR
from authz.errors import Refused
from authz.pki import Certificate, Crl, TrustStore
from authz.reasons import Reason

UNKNOWN = Reason.REVOCATION_UNKNOWN
THEIRS = ROOT.intermediate("Theirs")
"""A CA that clients present, and that no directory has."""

LONG = NOW + timedelta(days=99)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[World]:
    """A directory that knows the root alone; clients present both CAs, and its own CRL never ends."""
    async with world(tmp_path, start=False) as made:
        made.rows.added = [(crl(ROOT, next_update=LONG), ROOT)]
        made.rows.cas = [ROOT]
        made.trust = TrustStore([Certificate.parse(ROOT.der)], [Certificate.parse(one.der) for one in (CA, THEIRS)])
        await made.start()
        yield made


def names(scene: World) -> list[str]:
    """Whose CRLs are held that came from sources, and on disk."""
    found = sorted(one.issuer for one in scene.refresher.fetched)
    assert len(list(scene.folder.glob("*.crl"))) == len(found)
    return found


async def gone(scene: World, url: str) -> None:
    """It is no source any more."""
    await scene.until(lambda: url not in {one.location for one in scene.refresher.sources})


async def test_points_and_crls_of_an_organization_go_with_it(scene: World) -> None:
    """At once, and for good; its neighbour's stay."""
    async with serving(crl(THEIRS, next_update=LONG)) as evil, serving(crl(next_update=LONG)) as acme:
        assert await scene.check(leaf("m", evil.url, by=THEIRS), EVIL) == GOOD
        assert await scene.check(leaf("a", acme.url), ACME) == GOOD
        assert names(scene) == ["CN=CA", "CN=Theirs"]
        scene.rows.change(ACME.id, cas=[ROOT])
        await gone(scene, evil.url)
        assert names(scene) == ["CN=CA"]
        asked = len(evil.requests)
        await scene.stop()
        await scene.start()
        scene.time.pass_by(minutes=20)
        await scene.outcome(acme.url, "unchanged")
        assert [one.location for one in scene.refresher.sources] == [acme.url]
        assert len(evil.requests) == asked
        assert await scene.check(leaf("b", acme.url), ACME) == GOOD


async def test_organization_that_is_removed_while_nothing_runs_is_gone_after_the_start(scene: World) -> None:
    """Also when it named its points long before."""
    async with serving(crl(THEIRS, next_update=LONG)) as evil, serving(crl(next_update=LONG)) as acme:
        assert await scene.check(leaf("m", evil.url, by=THEIRS), EVIL) == GOOD
        assert await scene.check(leaf("a", acme.url), ACME) == GOOD
        await scene.stop()
        scene.rows.change(ACME.id, cas=[ROOT])
        await scene.start()
        assert names(scene) == ["CN=CA"]
        assert [one.location for one in scene.refresher.sources] == [acme.url]


async def test_crl_and_point_that_another_organization_met_stay(scene: World) -> None:
    """By whichever of its URLs, and though the one that is removed named it first."""
    async with serving(crl(next_update=LONG)) as shared, serving(b"") as alone:
        alone.answer = shared.answer
        assert await scene.check(leaf("m", shared.url), EVIL) == GOOD
        assert await scene.check(leaf("m", alone.url), EVIL) == GOOD
        assert await scene.check(leaf("a", shared.url), ACME) == GOOD
        scene.rows.change(ACME.id, cas=[ROOT])
        await gone(scene, alone.url)
        assert names(scene) == ["CN=CA"]
        assert [one.location for one in scene.refresher.sources] == [shared.url]
        assert await scene.check(leaf("plain"), ACME) == GOOD


async def test_crl_stays_that_another_organization_uses_without_naming_its_point(scene: World) -> None:
    """A path that names no point at all went through its CA."""
    async with serving(crl(next_update=LONG)) as evil:
        assert await scene.check(leaf("m", evil.url), EVIL) == GOOD
        assert await scene.check(leaf("plain"), ACME) == GOOD
        scene.rows.change(ACME.id, cas=[ROOT])
        await gone(scene, evil.url)
        assert names(scene) == ["CN=CA"]
        assert await scene.check(leaf("plain"), ACME) == GOOD


async def test_crl_of_a_ca_of_the_directory_stays_and_is_refreshed(scene: World) -> None:
    """However long no check met it: a client that comes once a month needs it then."""
    scene.rows.change(ACME.id, EVIL.id, cas=[ROOT, CA])
    async with serving(crl(next_update=LONG)) as server:
        assert await scene.check(leaf("a", server.url), ACME) == GOOD
        for _ in range(5):
            scene.time.pass_by(days=10)
            tried = sum(scene.refresher.outcomes.values())
            await scene.until(lambda wanted=tried: sum(scene.refresher.outcomes.values()) > wanted)  # type: ignore[misc]
            assert names(scene) == ["CN=CA"]
        scene.rows.change(ACME.id, EVIL.id, cas=[ROOT])
        await gone(scene, server.url)
        assert names(scene) == []


async def test_crl_and_point_not_met_for_a_day_go(scene: World) -> None:
    """Not before; and a path that comes again finds its CRL by first sight."""
    async with serving(crl(next_update=LONG)) as server:
        alice = leaf("a", server.url, by=CA)
        assert await scene.check(alice) == GOOD
        scene.time.pass_by(hours=20)
        await scene.outcome(server.url, "unchanged")
        assert await scene.check(leaf("b", server.url)) == GOOD
        scene.time.pass_by(hours=20)
        await scene.until(lambda: scene.refresher._retention._looked == scene.time.at)
        assert names(scene) == ["CN=CA"]
        scene.time.pass_by(hours=5)
        await gone(scene, server.url)
        assert names(scene) == []
        assert scene.refresher._retention._sightings._when == {}
        alice = CA.leaf("late", not_after=LONG, extensions=points(server.url))
        assert await scene.check(alice) == GOOD


async def test_point_that_gives_nothing_and_is_named_no_more_makes_room_for_another(tmp_path: Path) -> None:
    """Its organization has a bound, which names of years ago must not use up."""
    async with world(tmp_path, rules=CrlRules(points_each=1)) as scene, serving(b"") as old, serving(crl()) as new:
        old.answer = says(status="404 Not Found")
        scene.rows.added = [(crl(ROOT, next_update=LONG), ROOT)]
        scene.refresher.directory_read(2)
        assert await scene.check(leaf("a", old.url)) == UNKNOWN
        assert await scene.check(leaf("b", new.url)) == UNKNOWN
        scene.time.pass_by(hours=25)
        await gone(scene, old.url)
        new.answer = says(body=crl(next_update=LONG))
        assert await scene.check(CA.leaf("c", not_after=LONG, extensions=points(new.url))) == GOOD


async def test_point_of_a_removed_organization_is_asked_no_more_though_it_is_being_tried(scene: World) -> None:
    """Nor does one that waits for its turn get it."""
    async with serving(b"") as slow:
        slow.answer = hangs()
        for number in range(3):
            path = tuple(one.der for one in (leaf("m", f"{slow.url}?{number}"), CA, ROOT))
            scene.refresher.path_seen(EVIL.id, path)
        await slow.came.wait()
        scene.rows.change(ACME.id, cas=[ROOT])
        await scene.until(lambda: scene.refresher.sources == [])
        turns = scene.refresher._jobs._attempts._points
        await scene.until(lambda: not (turns._under_way or turns._waiting))
        assert len(slow.requests) == 1


async def test_organization_that_is_switched_off_has_its_crls_when_it_is_on_again(scene: World) -> None:
    """Its CAs are the directory's still; its points are asked no more, until a path is reported again."""
    scene.rows.change(ACME.id, EVIL.id, cas=[ROOT, CA])
    async with serving(crl(next_update=LONG)) as server:
        assert await scene.check(leaf("a", server.url), ACME) == GOOD
        scene.rows.change(EVIL.id, cas=[ROOT, CA])
        await gone(scene, server.url)
        scene.rows.change(ACME.id, EVIL.id, cas=[ROOT, CA])
        assert names(scene) == ["CN=CA"]
        assert await scene.check(leaf("b", server.url), ACME) == GOOD
        scene.time.pass_by(hours=1)
        assert await scene.check(leaf("c", server.url), ACME) == GOOD
        await scene.outcome(server.url, "unchanged")


async def test_what_the_operator_named_stays(tmp_path: Path) -> None:
    """No matter whose CA signed it; but a CA of an organization that is gone signs nothing more from there."""
    served = serving(crl(THEIRS, next_update=LONG))
    async with served as server, world(tmp_path, rules=CrlRules(urls=(server.url,)), start=False) as scene:
        scene.rows.cas = [ROOT]
        scene.trust = TrustStore([Certificate.parse(ROOT.der)], [Certificate.parse(THEIRS.der)])
        await scene.start()
        await scene.outcome(server.url, "signer_unknown")
        scene.refresher.path_seen(EVIL.id, tuple(one.der for one in (leaf("m", server.url, by=THEIRS), THEIRS, ROOT)))
        await scene.outcome(server.url, "accepted")
        scene.rows.change(ACME.id, cas=[ROOT])
        server.answer = says(body=crl(THEIRS, number=2, hours=1, next_update=LONG))
        await scene.until(lambda: not scene.refresher._sources[server.url].authorities)
        scene.ledger.wanted = [server.url]
        await scene.outcome(server.url, "signer_unknown")
        assert names(scene) == ["CN=Theirs"]


async def test_nothing_is_let_go_of_while_the_directory_cannot_be_read(scene: World) -> None:
    """Who there is, is then not known."""
    async with serving(crl(next_update=LONG)) as server:
        assert await scene.check(leaf("a", server.url), EVIL) == GOOD
        scene.rows.problem = Refused(Reason.DIRECTORY_UNAVAILABLE, "away")
        scene.rows.change(ACME.id, cas=[ROOT])
        await scene.stop()
        await scene.start()
        assert names(scene) == ["CN=CA"]
        scene.rows.problem = None
        await gone(scene, server.url)
        assert names(scene) == []


async def test_copies_of_an_earlier_version_have_a_day(scene: World) -> None:
    """Without a record of which organizations met them: then those need them that met them since."""
    async with serving(crl(THEIRS, next_update=LONG)) as evil, serving(crl(next_update=LONG)) as acme:
        assert await scene.check(leaf("m", evil.url, by=THEIRS), EVIL) == GOOD
        assert await scene.check(leaf("a", acme.url), ACME) == GOOD
        await scene.stop()
        (scene.folder / "met").write_bytes(b"")
        await scene.start()
        assert names(scene) == ["CN=CA", "CN=Theirs"]
        assert await scene.check(leaf("a", acme.url), ACME) == GOOD
        scene.rows.change(ACME.id, cas=[ROOT])
        scene.time.pass_by(seconds=MET_FOR.total_seconds() - 1)
        await scene.stop()
        await scene.start()
        assert names(scene) == ["CN=CA", "CN=Theirs"]
        assert await scene.check(leaf("b", acme.url), ACME) == GOOD
        scene.time.pass_by(seconds=1)
        scene.rows.change(ACME.id, cas=[ROOT])
        await gone(scene, evil.url)
        assert names(scene) == ["CN=CA"]


async def test_names_that_cannot_be_written_cost_nothing_else(scene: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: the copies are there, and have a day after the next start."""
    async with serving(crl(next_update=LONG)) as server:
        assert await scene.check(leaf("a", server.url)) == GOOD

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("authz.crls.disk_store.os.fsync", full)
            await scene.stop()
        await scene.start()
        assert names(scene) == ["CN=CA"]


async def test_neighbours_point_is_asked_after_a_restart_if_another_named_it(scene: World, tmp_path: Path) -> None:
    """A restored point has its organizations: those with many slow ones keep no other's waiting."""
    many = [ROOT.intermediate(f"CA {number}") for number in range(12)]
    scene.trust = TrustStore([Certificate.parse(ROOT.der)], [Certificate.parse(one.der) for one in (CA, *many)])
    scene.limits = replace(scene.limits, total=30.0, read=30.0)
    async with serving(b"") as slow, serving(b"") as slow_too, serving(crl(next_update=LONG)) as acme:
        for number, by in enumerate(many):
            server = (slow, slow_too)[number % 2]
            server.answer = says(body=crl(by, next_update=LONG))
            assert await scene.check(leaf("m", f"{server.url}?{number}", by=by), EVIL) == GOOD
        assert await scene.check(leaf("m", acme.url), EVIL) == GOOD
        assert await scene.check(leaf("a", acme.url), ACME) == GOOD
        await scene.stop()
        slow.answer = slow_too.answer = hangs()
        await scene.start()
        asked = len(acme.requests)
        scene.time.pass_by(minutes=15)
        await scene.outcome(acme.url, "unchanged")
        assert len(acme.requests) == asked + 1
        assert not any(one.outcome for one in scene.refresher.sources if one.location != acme.url)
        assert set(scene.refresher._sources[acme.url].organizations) == {ACME.id, EVIL.id}


WEEK = NOW + timedelta(days=7)


async def test_older_crl_is_refused_after_a_quiet_day(scene: World) -> None:
    """The copy was let go, and an attacker in the server's place replays the CRL before it."""
    async with serving(b"") as server:
        revoked = CA.leaf("m", not_after=LONG, extensions=points(server.url))
        server.answer = says(body=crl(CA, revoked, number=2, hours=8, next_update=WEEK))
        assert await scene.check(revoked) == Reason.CERTIFICATE_REVOKED
        server.answer = says(body=crl(number=1, next_update=WEEK))
        scene.time.pass_by(hours=25)
        await gone(scene, server.url)
        assert names(scene) == []
        assert await scene.check(revoked) == UNKNOWN
        await scene.outcome(server.url, "older")
        await scene.stop()
        await scene.start()
        assert await scene.check(revoked) == UNKNOWN


async def test_older_crl_is_refused_though_its_organization_was_off_meanwhile(scene: World) -> None:
    """Or its CA is no longer in the directory; the same CRL, and a newer one, are taken again."""
    async with serving(b"") as server:
        revoked = leaf("m", server.url)
        new = crl(CA, revoked, number=2, hours=8, next_update=WEEK)
        server.answer = says(body=new)
        assert await scene.check(revoked) == Reason.CERTIFICATE_REVOKED
        server.answer = says(body=crl(number=1, next_update=WEEK))
        scene.rows.change(EVIL.id, cas=[ROOT])
        await gone(scene, server.url)
        scene.rows.change(ACME.id, EVIL.id, cas=[ROOT])
        assert await scene.check(revoked) == UNKNOWN
        server.answer = says(body=new)
        scene.time.pass_by(minutes=20)
        await scene.until(lambda: len(scene.refresher.fetched) == 1)
        assert await scene.check(revoked) == Reason.CERTIFICATE_REVOKED


@pytest.mark.slow
async def test_start_waits_for_no_copy_that_takes_long_to_read(scene: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its neighbour's answers, its own is unknown and cannot go back, and then it answers too."""
    async with serving(b"") as evil, serving(crl(next_update=LONG)) as acme:
        revoked = leaf("m", evil.url, by=THEIRS)
        evil.answer = says(body=crl(THEIRS, revoked, *range(1, 2000), number=2, hours=8, next_update=WEEK))
        assert await scene.check(revoked, EVIL) == Reason.CERTIFICATE_REVOKED
        assert await scene.check(leaf("a", acme.url), ACME) == GOOD
        await scene.stop()
        evil.answer = says(body=crl(THEIRS, number=1, next_update=WEEK))
        index, go = scene.index, asyncio.Event()

        async def slow(source: Path, keys: Collection[bytes]) -> Crl:
            if source.stat().st_size > 20_000:
                await go.wait()
            return await index(source, keys)

        monkeypatch.setattr(scene, "index", slow)
        monkeypatch.setattr("support.crl_world.PATIENCE", 0.2)
        monkeypatch.setattr(scene, "rules", replace(scene.rules, first_fetch_wait=0.1))
        await scene.start()
        assert await scene.check(leaf("b", acme.url), ACME) == GOOD
        assert await scene.check(revoked, EVIL) == UNKNOWN
        go.set()
        await scene.until(lambda: len(scene.held()) == 3)
        assert await scene.check(revoked, EVIL) == Reason.CERTIFICATE_REVOKED
        await scene.outcome(evil.url, "older")
        assert set(scene.refresher._sources[acme.url].organizations) == {ACME.id}


async def test_point_of_a_removed_organization_is_no_source_after_any_restart(scene: World) -> None:
    """Though what it gave is needed still: the living organization's own point is asked instead."""
    scene.rows.change(ACME.id, EVIL.id, cas=[ROOT, CA])
    async with serving(crl(next_update=LONG)) as evil, serving(b"") as acme:
        acme.answer = evil.answer
        assert await scene.check(leaf("a", acme.url), ACME) == GOOD
        assert await scene.check(leaf("m", evil.url), EVIL) == GOOD
        await scene.outcome(evil.url, "unchanged")
        newer = crl(number=2, hours=1, next_update=LONG)
        evil.answer = says(body=newer)
        scene.ledger.wanted = [evil.url]
        await scene.outcome(evil.url, "accepted")
        acme.answer = says(body=newer)
        scene.ledger.wanted = [acme.url]
        await scene.until(
            lambda: scene.refresher._sources[acme.url].sha256 == scene.refresher._sources[evil.url].sha256
        )
        scene.rows.change(ACME.id, cas=[ROOT, CA])
        await gone(scene, evil.url)
        # Whose the copy is now is written in a thread; a start before that would not know the point yet.
        await scene.until(lambda: any(acme.url in file.read_text() for file in scene.folder.glob("*.json")))
        asked = len(evil.requests)
        for _ in range(2):
            await scene.stop()
            await scene.start()
            assert [one.location for one in scene.refresher.sources] == [acme.url]
            scene.time.pass_by(minutes=20)
            await scene.outcome(acme.url, "unchanged")
        assert len(evil.requests) == asked


async def test_point_that_gives_what_is_nobodys_any_more_is_restored(scene: World) -> None:
    """The organization was off and on, and then the service restarted."""
    scene.rows.change(ACME.id, EVIL.id, cas=[ROOT, CA])
    async with serving(crl(next_update=LONG)) as server:
        assert await scene.check(leaf("a", server.url), ACME) == GOOD
        scene.rows.change(EVIL.id, cas=[ROOT, CA])
        await gone(scene, server.url)
        await scene.until(lambda: [one.location for one in scene.refresher.fetched] == [""])
        await scene.stop()
        await scene.start()
        assert scene.refresher.sources == []
        scene.rows.change(ACME.id, EVIL.id, cas=[ROOT, CA])
        assert await scene.check(leaf("b", server.url), ACME) == GOOD
        await scene.outcome(server.url, "unchanged")
        await scene.stop()
        await scene.start()
        assert [one.location for one in scene.refresher.sources] == [server.url]
