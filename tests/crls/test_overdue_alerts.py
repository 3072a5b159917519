"""Warnings about CRLs that are overdue."""

from __future__ import annotations

from datetime import timedelta

from support.certificates import NOW
from support.crl_world import CA, GOOD, World, crl, leaf, serving

from authz.reasons import Reason

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN


async def test_crl_out_of_date_is_reported_once(scene: World) -> None:
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


async def test_crl_added_to_the_directory_is_measured_and_reported_when_it_is_out_of_date(scene: World) -> None:
    """As long as nothing newer of its place is held: then it answers for no certificate."""
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


async def test_fetched_crl_that_an_added_one_supersedes_is_not_reported_when_it_is_out_of_date(scene: World) -> None:
    """No check is refused for it."""
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
