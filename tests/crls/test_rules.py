"""The operator's rules: hard-fail, soft-fail and grace, and what a refused CRL means for them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from support.certificates import NOW, Authority
from support.crl_server import says
from support.crl_world import ACME, CA, EVIL, GOOD, ROOT, World, crl, leaf, serving, world

from authz.crls.rules import CrlRules, ModeRule
from authz.pki import Exemption, RevocationMode
from authz.pki.x509.distinguished_name import Name
from authz.reasons import Reason

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN
PLAIN = CA.leaf("alice")
HTML = b"<!doctype html><title>Sign in</title>"
ASTRAY = crl(CA, *range(1, 4_000)).replace(b"\x06\x03\x55\x04\x03", b"\x06\xee\x55\x04\x03", 1)
"""A large CRL in whose issuer's name a length leads beyond it."""


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
    """A restart takes nothing from it; a grace of an organization's own counts."""
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


@pytest.mark.parametrize("body", [HTML, crl(Authority.root("CA"), number=9), b"", crl(hours=-1), ASTRAY])
async def test_soft_does_not_cover_a_crl_that_was_refused(tmp_path: Path, body: bytes) -> None:
    """An attacker who can replace it with rubbish could switch revocation off."""
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
    """By the name it bears; another's distribution point says nothing about it."""
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
    """Those that name no point, or another one; a neighbour's are recognized by its own points."""
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


@pytest.mark.slow
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
    """An attacker between us and the server may send rubbish first and nothing afterwards."""
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
