"""Mutated certificates, CRLs and bags: a verified path or a refusal, and nothing else; `FUZZ=100` makes 120,000."""

from __future__ import annotations

import os
import random

import pytest
from cryptography import x509
from pki_factory import NOW, Authority, san
from pki_mutants import mutant

from authz.errors import Refused
from authz.pki import Budget, Certificate, Crl, CrlStore, TrustStore, verify_path
from authz.reasons import Gate

ROUNDS = max(1_700, 200 * int(os.environ.get("FUZZ", "1")))
POLICIES = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
POINTS = x509.CRLDistributionPoints(
    [x509.DistributionPoint([x509.UniformResourceIdentifier("http://a.test/crl")], None, None, None)]
)
NAMES = x509.NameConstraints([x509.DNSName("example.test")], [x509.RFC822Name("a@b.test")])
ROOT = Authority.root()
CA = ROOT.intermediate(path_length=0, extensions=[(NAMES, True), (POLICIES, False)])
LEAF = CA.leaf(extensions=[(san("a.example.test"), False), (POLICIES, False), (POINTS, False)])
IDP = x509.IssuingDistributionPoint(
    full_name=[x509.UniformResourceIdentifier("http://a.test/crl")],
    relative_name=None,
    only_contains_user_certs=True,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)
CRLS = [ROOT.crl(), CA.crl(1, 2, 3, reason=x509.ReasonFlags.key_compromise), CA.crl(4, extensions=[(IDP, True)])]


def mutate(drawn: random.Random, data: bytes) -> bytes:
    """A few octets changed, doubled, or left out; now and then a length or a tag."""
    found = bytearray(data)
    for _ in range(drawn.randint(1, 3)):
        at = drawn.randrange(len(found))
        kind = drawn.randrange(4)
        if kind == 0:
            found[at] = drawn.randrange(256)
        elif kind == 1:
            found[at] ^= 1 << drawn.randrange(8)
        elif kind == 2:
            del found[at : at + drawn.randint(1, 4)]
        else:
            found[at:at] = found[at : at + drawn.randint(1, 8)]
    return bytes(found)


def outcome(leaf: bytes, pool: list[bytes], crls: list[bytes]) -> Gate | None:
    """The gate that refuses, None where a path verifies; anything else is raised."""
    try:
        trust = TrustStore([Certificate.parse(ROOT.der)])
        store = CrlStore(map(Crl, crls))
        verify_path(Certificate.parse(leaf), map(Certificate.parse, pool), trust, store, NOW, budget=Budget.service())
    except Refused as refused:
        return refused.reason.gate
    return None


def test_unchanged_material_verifies() -> None:
    """What is mutated is good."""
    assert outcome(LEAF.der, [CA.der], CRLS) is None


@pytest.mark.fuzz
@pytest.mark.parametrize("what", ["leaf", "pool", "crls"])
def test_mutated_material_is_verified_or_refused(what: str) -> None:
    """No other error, whatever the octets; and a leaf that was changed never verifies."""
    drawn = random.Random(what)
    for _ in range(ROUNDS):
        leaf, pool, crls = LEAF.der, [CA.der], list(CRLS)
        if what == "leaf":
            leaf = mutate(drawn, leaf)
        elif what == "pool":
            pool = [mutate(drawn, CA.der), *([CA.der] * drawn.randint(0, 1))]
        else:
            at = drawn.randrange(len(crls))
            crls[at] = mutate(drawn, crls[at])
        gate = outcome(leaf, pool, crls)
        assert gate in {None, Gate.CERTIFICATE, Gate.REVOCATION}
        if leaf != LEAF.der:
            assert gate is not None


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")  # which is accepted: docs/validation.md
@pytest.mark.parametrize("what", ["leaf", "pool", "crls"])
def test_mutant_that_was_signed_again_is_verified_or_refused(what: str) -> None:
    """No other error behind the signatures either, where the parser's leniency ends at ours."""
    drawn = random.Random(what)
    for _ in range(ROUNDS):
        leaf, pool, crls = LEAF.der, [CA.der], list(CRLS)
        if what == "leaf":
            leaf = mutant(drawn, leaf, CA)
        elif what == "pool":
            pool = [mutant(drawn, CA.der, ROOT)]
        else:
            at = drawn.randrange(len(crls))
            crls[at] = mutant(drawn, crls[at], CA if at else ROOT)
        assert outcome(leaf, pool, crls) in {None, Gate.CERTIFICATE, Gate.REVOCATION}
