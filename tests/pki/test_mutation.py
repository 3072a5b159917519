"""Mutated certificates, CRLs and bags: a verified path or a refusal, and nothing else; `FUZZ=100` makes 140,000."""

from __future__ import annotations

import os
import random
from typing import Any

import asn1crypto.x509
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from support.certificates import NOW, Authority, Minted, san
from support.certvalidator_oracle import verdict
from support.differences import CERTVALIDATOR, MUTANTS, explained
from support.mutants import change
from support.random_chains import ROWS, draw
from support.scenarios import Scenario
from support.tampered import signed_again

from authz.errors import Refused
from authz.pki import DEFAULT_POLICY, Budget, Certificate, Crl, CrlStore, TrustStore, verify_chain, verify_path
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


def mutant(drawn: random.Random, data: bytes, signer: Minted) -> bytes:
    """What is DER again, and signed again."""
    return signed_again(data, signer, lambda signed: change(drawn, signed))


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
    """No other error behind the signatures either, where the parser's mode ends at ours."""
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


class Bag:
    """What a drawn scenario gives a validator; `signers` are those of the CAs on its path."""

    def __init__(self, scene: Scenario, signers: dict[bytes, Minted]) -> None:
        self.leaf = scene.der
        self.pool, self.crls, self.anchors = scene.pool, list(scene.crls), [scene.anchor.der]
        self.signers = signers
        self.changed = b"", b""

    def mutate(self, drawn: random.Random) -> bool:
        """Change one thing of the bag, and leave out or double others; whether the leaf's octets changed unsigned."""
        again = drawn.random() < 0.7
        for items in (self.pool, self.crls):
            drawn.shuffle(items)
            if items and drawn.random() < 0.1:
                items.append(drawn.choice(items))
        kind = drawn.choice([self.pool, self.crls, self.anchors, None])
        if kind is None:
            before, self.leaf = self.leaf, self._changed(drawn, self.leaf, again=again)
            self.changed = before, self.leaf
            return not again and self.leaf != before
        at = drawn.randrange(len(kind))
        before, kind[at] = kind[at], self._changed(drawn, kind[at], again=again)
        self.changed = before, kind[at]
        return False

    def _changed(self, drawn: random.Random, data: bytes, *, again: bool) -> bytes:
        return mutant(drawn, data, self.signers[data]) if again and data in self.signers else mutate(drawn, data)

    def outcome(self) -> Gate | None:
        """As above."""
        try:
            verify_chain(self.leaf, pool=self.pool, anchors=self.anchors, crls=self.crls, at=NOW)
        except Refused as refused:
            return refused.reason.gate
        return None

    def objection(self) -> str:
        """Empty where pyhanko-certvalidator accepts the bag too, or a row of `MUTANTS` says why not; else its words.

        It is asked again without a change that cannot make a path valid: a certificate more in the pool, or what an
        anchor states beside its name and key (RFC 5280 section 6.1.1 (d)).
        """
        before, after = self.changed
        said = self._verdict(self.pool, self.anchors)
        if said and after in self.pool:
            said = self._verdict([der for der in self.pool if der != after], self.anchors)
        if said and after in self.anchors and _name_and_key(before) == _name_and_key(after):
            said = self._verdict(self.pool, [before])
        return "" if any(row.explains(said, before, after) for row in MUTANTS) else said

    def _verdict(self, pool: list[bytes], anchors: list[bytes]) -> str:
        return verdict(self.leaf, pool, anchors, self.crls, NOW, DEFAULT_POLICY) or ""


def _name_and_key(der: bytes) -> tuple[bytes, bytes]:
    signed = asn1crypto.x509.Certificate.load(der)["tbs_certificate"]
    return signed["subject"].dump(), signed["subject_public_key_info"].dump()


def signers_of(scene: Scenario) -> dict[bytes, Minted]:
    """Who of the CAs on the path signed what of the scenario."""
    found: dict[bytes, Minted] = {}
    for issuer in (scene.anchor, *scene.cas, scene.issuer):
        found |= {der: issuer for der in (scene.der, *scene.pool) if _issued(issuer, der)}
        key: Any = issuer.key.public_key()
        found |= {der: issuer for der in scene.crls if x509.load_der_x509_crl(der).is_signature_valid(key)}
    return found


def _issued(issuer: Authority, der: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(der).verify_directly_issued_by(issuer.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")
def test_mutated_bag_of_any_feature_is_verified_or_refused() -> None:
    """Whole bags, of every feature that the differential test knows and every way to break it.

    What verifies, pyhanko-certvalidator accepts as well, but for reasons that have a clause.
    """
    drawn = random.Random("bags")
    verified = 0
    for feature, broken in ROWS:
        scene = draw(drawn, feature, broken)
        signers = signers_of(scene)
        for _ in range(ROUNDS // len(ROWS) + 1):
            bag = Bag(scene, signers)
            unsigned = bag.mutate(drawn)
            gate = bag.outcome()
            assert gate in {None, Gate.CERTIFICATE, Gate.REVOCATION}
            assert gate or not unsigned
            verified += gate is None
            if gate is None and not explained(CERTVALIDATOR, "accept", scene.feature, broken):
                assert bag.objection() == "", (feature, broken)
    assert verified > ROUNDS // 20
