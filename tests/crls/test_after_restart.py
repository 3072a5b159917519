"""What a service knows of CRLs after it was started again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.certificates import NOW, Authority
from support.crl_server import says
from support.crl_world import GOOD, World, crl, leaf, serving


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


async def test_copy_that_was_tampered_with_is_set_aside_and_reported(scene: World) -> None:
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
    """A point that nothing names any more does not fill the disk."""
    async with serving(crl()) as server:
        await scene.check(leaf("alice", server.url))
    await scene.stop()
    scene.time.pass_by(days=60)
    await scene.start()
    assert list(scene.folder.glob("*.crl")) == []


async def test_crl_that_cannot_be_kept_is_used_and_reported(scene: World, monkeypatch: pytest.MonkeyPatch) -> None:
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
