"""CRLs that an operator added to the directory, beside those from sources."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.crl_server import says
from support.crl_world import CA, GOOD, ROOT, World, crl, leaf, serving, sha256, world

from authz.errors import Refused
from authz.reasons import Reason

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN
PLAIN = CA.leaf("alice")


async def test_crl_added_to_the_directory_counts_and_goes_with_it(scene: World) -> None:
    """Noticed by its revision."""
    scene.rows.added.append((crl(), CA))
    scene.refresher.directory_read(2)
    await scene.until(lambda: len(scene.held()) == 2)
    assert await scene.check(PLAIN) == GOOD
    scene.rows.added.pop()
    scene.refresher.directory_read(3)
    await scene.until(lambda: scene.held() == sha256(crl(ROOT)) or len(scene.held()) == 1)
    assert await scene.check(PLAIN) == UNKNOWN


async def test_crl_older_than_the_directorys_is_not_taken(scene: World) -> None:
    """A server that gives an old one cannot undo what the operator added."""
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


async def test_crls_of_the_directory_that_are_not_taken_over_yet_hold_the_moment(scene: World) -> None:
    """Another process that looks at them must not be made to believe that it knows everything."""
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


async def test_directory_that_cannot_be_read_refuses_the_start(tmp_path: Path) -> None:
    """Nothing is decided without it."""
    async with world(tmp_path, start=False) as scene:

        async def away() -> list[object]:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE)

        scene.rows.listed = away  # type: ignore[method-assign,assignment]
        with pytest.raises(Refused):
            await scene.start()
