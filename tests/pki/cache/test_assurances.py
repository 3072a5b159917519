"""Assurances are of one store and one tenant, hold between two dates, and are bounded."""

from __future__ import annotations

import pytest
from support.certificates import NOW, name
from support.outcomes import parsed
from support.revocation_world import CA, EXPIRED, LEAF, ROOT, prove

from authz.pki import DEFAULT_POLICY, Crl, CrlStore, RevocationMode, TrustAnchor
from authz.pki.cache.assurances import ASSURANCE_BYTES, Assurance, AssuranceCache, find_assurance, put_assurance
from authz.pki.cache.issuer_chains import IssuerChain
from authz.pki.revocation.crl_scope import ApplicableCrls
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import ALL_REASONS, Points, points_of

CHAIN = IssuerChain(tuple(parsed(CA, ROOT)), TrustAnchor(parsed(ROOT)[0]), DEFAULT_POLICY, 1, 9)


def points(number: int) -> Points:
    """The implied distribution point of an issuer of that number."""
    return points_of((), Name(name(str(number))))


def test_flood_of_kinds_of_leaves_leaves_another_tenants_assurance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another store knows nothing of it, and a kind that was never met is not known."""
    monkeypatch.setattr("authz.pki.revocation.crl_store.MAX_REMEMBERED", 100_000)
    store, known = CrlStore([Crl(CA.crl())]), Assurance((), (), NOW, NOW)
    kind = (object(), points(0), False)
    assert find_assurance(store, "quiet", kind) is None
    put_assurance(store, "quiet", kind, known)
    for number in range(1_000):
        put_assurance(store, "loud", (kind[0], points(number), False), known)
    assert find_assurance(store, "quiet", kind) is known
    assert find_assurance(store, "quiet", (kind[0], kind[1], True)) is None
    assert find_assurance(store, "loud", (kind[0], points(0), False)) is None
    assert find_assurance(CrlStore(store), "quiet", kind) is None


def test_tenant_with_plans_only_has_no_assurance() -> None:
    """And looking for one makes nothing."""
    store = CrlStore()
    tenant = store.memory.tenant("o")
    AssuranceCache(tenant).put((object(), points(0), False), Assurance((), (), NOW, NOW), 9)
    assert find_assurance(store, "o", (object(), points(0), False)) is None
    assert not tenant.parts


def test_crl_without_an_end_assures_nothing() -> None:
    """Nothing says how long it holds."""
    crl = Crl(ROOT.crl())
    assert Assurance.of(CHAIN, (), [ApplicableCrls.of(ALL_REASONS, [crl])], (), NOW) is not None
    crl.next_update = None
    assert Assurance.of(CHAIN, (), [ApplicableCrls.of(ALL_REASONS, [crl])], (), NOW) is None


def test_assurance_holds_while_every_crl_does() -> None:
    """It begins with the last of them, and ends with the first."""
    crls = [Crl(ROOT.crl()), Crl(CA.crl(number=2))]
    about_cas = [ApplicableCrls.of(ALL_REASONS, [crl]) for crl in crls]
    assurance = Assurance.of(CHAIN, (), about_cas, (), NOW)
    assert assurance is not None
    assert assurance.since == max(crl.this_update for crl in crls)
    assert assurance.until == min(crl.next_update for crl in crls if crl.next_update is not None)
    assert Assurance.of(CHAIN, (), [ApplicableCrls.of(ALL_REASONS, [Crl(ROOT.crl(**EXPIRED))])], (), NOW) is None


def test_proof_with_an_exemption_assures_nothing() -> None:
    """What is let pass is asked about by every check."""
    proofs = prove(LEAF, [ROOT.crl(**EXPIRED), CA.crl()], mode_of=lambda _: RevocationMode(soft=True)).revocation
    assert Assurance.of(CHAIN, proofs[:1], [], (), NOW) is not None
    assert Assurance.of(CHAIN, proofs, [], (), NOW) is None


def test_assurance_weighs_the_cas_it_may_be_the_last_to_hold() -> None:
    """And each set of CRLs."""
    proofs = prove(LEAF, [ROOT.crl(), CA.crl()]).revocation
    assert Assurance(proofs, (), NOW, NOW).weight > 3 * ASSURANCE_BYTES + len(CA.der) + len(LEAF.der)
