"""One rule broken at a time, and the reason that tells it: RFC 5280 section 6.1."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.certificates import NOW, Authority, Minted, new_key, usage
from support.outcomes import reason, refusal
from support.raw_der import handmade, raw_name, spki_of

from authz.errors import Refused
from authz.pki import (
    SERVICE_POLICY,
    Certificate,
    TrustAnchor,
    TrustStore,
    ValidationPolicy,
    verify_path,
)
from authz.pki.path.validator import signature_refusal
from authz.pki.x509.algorithms import AlgorithmRules
from authz.reasons import Reason

ROOT = Authority.root("Root")
CA = ROOT.intermediate("CA")
ALICE = CA.leaf("alice")
DAY = timedelta(days=1)
Extension = tuple[x509.ExtensionType, bool]


def outcome(
    leaf: Minted, *pool: Minted, anchors: Sequence[Minted] = (ROOT,), policy: ValidationPolicy = SERVICE_POLICY
) -> Reason | None:
    """What the service says."""
    return reason(leaf, *pool, anchors=anchors, policy=policy)


NO_CA = ROOT.intermediate("CA", extensions=[(x509.BasicConstraints(ca=False, path_length=None), True)])
NO_BC = ROOT.intermediate("CA", without=[x509.BasicConstraints])
NO_SIGN = ROOT.intermediate("CA", extensions=[(usage("crl_sign"), True)])
SERVERS = ROOT.intermediate("CA", extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
ZERO = ROOT.intermediate("CA", path_length=0)
BELOW = ZERO.intermediate("Below")
OLD = ROOT.intermediate("CA", not_after=NOW - DAY)
YOUNG = ROOT.intermediate("CA", not_before=NOW + DAY)
UNKNOWN: Extension = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
IMPOSTOR = Authority.root("Impostor").intermediate("CA")
R = Reason


@pytest.mark.parametrize(
    ("leaf", "pool", "expected"),
    [
        (ALICE, [CA], None),
        (ALICE, [CA, ROOT], None),
        (ALICE, [IMPOSTOR, ROOT, ALICE, CA, CA], None),
        (ROOT.leaf(), [], None),
        (ALICE, [], R.ISSUER_UNKNOWN),
        (ALICE, [ROOT], R.ISSUER_UNKNOWN),
        (ALICE, [IMPOSTOR], R.SIGNATURE_INVALID),
        (Authority.root("Foreign").leaf(), [], R.ISSUER_UNKNOWN),
        (Authority.root("Selfish"), [], R.EXTENDED_KEY_USAGE_NOT_ALLOWED),
        (CA.leaf(not_after=NOW - DAY), [CA], R.CERTIFICATE_EXPIRED),
        (CA.leaf(not_before=NOW + DAY), [CA], R.CERTIFICATE_NOT_YET_VALID),
        (CA.leaf(not_after=NOW, not_before=NOW), [CA], None),
        (OLD.leaf(), [OLD], R.CERTIFICATE_EXPIRED),
        (YOUNG.leaf(), [YOUNG], R.CERTIFICATE_NOT_YET_VALID),
        (NO_CA.leaf(), [NO_CA], R.NOT_A_CA),
        (NO_BC.leaf(), [NO_BC], R.NOT_A_CA),
        (NO_SIGN.leaf(), [NO_SIGN], R.KEY_USAGE_NOT_ALLOWED),
        (SERVERS.leaf(), [SERVERS], R.EXTENDED_KEY_USAGE_NOT_ALLOWED),
        (ZERO.leaf(), [ZERO], None),
        (BELOW.leaf(), [BELOW, ZERO], R.PATH_LENGTH_EXCEEDED),
        (CA.leaf(extensions=[UNKNOWN]), [CA], R.CRITICAL_EXTENSION_UNKNOWN),
        (CA.leaf(extensions=[(UNKNOWN[0], False)]), [CA], None),
        (CA.leaf(without=[x509.ExtendedKeyUsage]), [CA], R.EXTENDED_KEY_USAGE_NOT_ALLOWED),
        (CA.leaf(extensions=[(usage("key_encipherment"), True)]), [CA], R.KEY_USAGE_NOT_ALLOWED),
        (CA.leaf(without=[x509.KeyUsage]), [CA], None),
        (CA.leaf(serial=1), [CA], None),
    ],
)
def test_path_with_one_thing_changed_has_its_reason(
    leaf: Minted, pool: Sequence[Minted], expected: Reason | None
) -> None:
    """Builder, dates, CA, key usage, purposes, path length, critical extensions."""
    assert outcome(leaf, *pool) is expected


@pytest.mark.parametrize("purpose", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
def test_purpose_of_the_leaf_must_be_client_authentication(purpose: x509.ObjectIdentifier) -> None:
    """For the service "any" is not said; a library user may take it."""
    leaf = CA.leaf(extensions=[(x509.ExtendedKeyUsage([purpose]), False)])
    assert outcome(leaf, CA) is R.EXTENDED_KEY_USAGE_NOT_ALLOWED
    wide = purpose == ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
    assert (outcome(leaf, CA, policy=ValidationPolicy()) is None) is wide


def test_trust_anchor_as_leaf_is_self_signed() -> None:
    """A registered root is no proof."""
    root = Authority.root(extensions=[(usage("digital_signature", "key_cert_sign"), True)])
    assert outcome(root, anchors=[root], policy=ValidationPolicy(extended_key_usage=None)) is R.CERTIFICATE_SELF_SIGNED


def test_trust_anchor_expired_anchors_nothing() -> None:
    """Its validity counts like everybody's."""
    old = Authority.root("Root", not_after=NOW - DAY)
    assert outcome(old.leaf(), anchors=[old]) is R.CERTIFICATE_EXPIRED


DNS, OUT = x509.DNSName, R.NAME_CONSTRAINT_VIOLATED


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ({"permitted": (DNS("other.test"),)}, OUT),
        ({"excluded": (DNS("example.test"),)}, OUT),
        ({"path_length": 0}, R.PATH_LENGTH_EXCEEDED),
    ],
)
def test_anchor_constrained_by_the_operator_refuses_beyond(constraint: dict[str, object], expected: Reason) -> None:
    """Names and path length, beside what the anchor says itself."""
    trusted = TrustAnchor(Certificate.parse(ROOT.der), **constraint)  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        verify_path(Certificate.parse(ALICE.der), [Certificate.parse(CA.der)], TrustStore([trusted]), None, NOW)
    assert caught.value.reason is expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (NOW, None),
        (NOW + timedelta(microseconds=999_999), None),
        (NOW + timedelta(seconds=1), R.CERTIFICATE_EXPIRED),
        (NOW - DAY, None),
        (NOW - DAY - timedelta(seconds=1), R.CERTIFICATE_NOT_YET_VALID),
    ],
)
def test_both_ends_of_the_validity_belong_to_it(moment: datetime, expected: Reason | None) -> None:
    """RFC 5280 section 4.1.2.5, to the second: the times of certificates have no fractions."""
    leaf = ROOT.leaf(not_before=NOW - DAY, not_after=NOW)
    assert reason(leaf, anchors=[ROOT], at=moment) is expected


def test_key_usage_of_the_leaf_is_as_the_policy_asks() -> None:
    """One of its bits, if the leaf has the extension and a purpose is asked for at all."""
    leaf = ROOT.leaf(extensions=[(usage("key_encipherment"), True)])
    asked = ValidationPolicy(key_usage=frozenset({"keyEncipherment", "keyAgreement"}))
    assert reason(leaf, anchors=[ROOT], policy=asked) is None
    assert reason(leaf, anchors=[ROOT]) is R.KEY_USAGE_NOT_ALLOWED
    assert reason(leaf, anchors=[ROOT], policy=ValidationPolicy(key_usage=frozenset())) is None
    assert reason(leaf, anchors=[ROOT], policy=ValidationPolicy(extended_key_usage=None)) is None


def test_extended_key_usage_may_be_absent_unless_it_is_required() -> None:
    """For a library user absence means any; for the service it means that the issuer did not say so."""
    leaf = ROOT.leaf(without=[x509.ExtendedKeyUsage])
    assert reason(leaf, anchors=[ROOT]) is None
    assert reason(leaf, anchors=[ROOT], policy=SERVICE_POLICY) is R.EXTENDED_KEY_USAGE_NOT_ALLOWED


def test_ca_without_a_name_issues_nothing() -> None:
    """RFC 5280 section 4.1.2.6; CRLs and certificates of all nameless CAs would be as one's."""
    nameless = ROOT.intermediate(x509.Name([]))
    assert reason(nameless.leaf(), nameless, anchors=[ROOT]) is R.NOT_A_CA


def test_self_issued_cas_do_not_count_for_path_length() -> None:
    """RFC 5280 section 6.1.4 (l): a CA that rolls its key over is one CA."""
    rolled = ZERO.intermediate(ZERO.certificate.subject)
    assert reason(rolled.leaf(), rolled, ZERO, anchors=[ROOT]) is None
    below = rolled.intermediate("Below")
    assert reason(below.leaf(), below, rolled, ZERO, anchors=[ROOT]) is R.PATH_LENGTH_EXCEEDED


@pytest.mark.parametrize(("limit", "expected"), [(0, R.PATH_LENGTH_EXCEEDED), (1, None), (None, None)])
def test_policy_limits_the_path_length(limit: int | None, expected: Reason | None) -> None:
    """CAs between leaf and anchor."""
    assert reason(ALICE, CA, anchors=[ROOT], policy=ValidationPolicy(max_path_length=limit)) is expected


def test_anchor_of_version_1_is_a_ca_by_the_operators_word() -> None:
    """Nothing in it could say so; as an intermediate it is invalid."""
    key = new_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    old = handmade(key, issuer=raw_name(b"Old"), subject=raw_name(b"Old"), version=b"")
    leaf = Authority.root("Old", key=key).leaf()
    assert reason(leaf, anchors=[old]) is None
    crossed = handmade(ROOT.key, issuer=raw_name(b"Root"), subject=raw_name(b"Old"), spki=spki_of(key), version=b"")  # type: ignore[arg-type]
    assert reason(leaf, crossed, anchors=[ROOT]) is R.NOT_A_CA


def test_whole_path_obeys_the_policys_algorithms() -> None:
    """An anchor's key too; the refusal is about the certificate at fault."""
    narrow = ValidationPolicy(algorithms=AlgorithmRules(keys=frozenset({"secp384r1"})))
    refused = refusal(ROOT.leaf(key=new_key("p384")), anchors=[ROOT], policy=narrow)
    assert refused is not None
    assert (refused.reason, refused.certificate) == (R.ALGORITHM_NOT_ALLOWED, ROOT.der)
    sha512 = ValidationPolicy(algorithms=AlgorithmRules(signatures=frozenset({"1.2.840.10045.4.3.4"})))
    refused = refusal(ALICE, CA, anchors=[ROOT], policy=sha512)
    assert refused is not None
    assert (refused.reason, refused.certificate) == (R.ALGORITHM_NOT_ALLOWED, ALICE.der)


def test_constraints_of_every_ca_are_gathered() -> None:
    """And applied to what is below it, not to itself."""
    narrow = ROOT.intermediate("CA", extensions=[(x509.NameConstraints(None, [DNS("example.test")]), True)])
    assert reason(narrow.leaf(), narrow, anchors=[ROOT]) is OUT
    assert reason(narrow.leaf(without=[x509.SubjectAlternativeName]), narrow, anchors=[ROOT]) is None


def test_nothing_is_asked_of_extensions_without_a_say() -> None:
    """Critical issuer alternative names and directory attributes are recognized."""
    alternative = x509.IssuerAlternativeName([x509.DNSName("a.test")])
    attributes = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.9"), b"0\0")
    leaf = ROOT.leaf(extensions=[(alternative, True), (attributes, True)])
    assert reason(leaf, anchors=[ROOT]) is None


@pytest.mark.parametrize("leaf", [CA, ROOT])
def test_chain_sent_upside_down_is_reported_as_such(leaf: Minted) -> None:
    """The first certificate is the leaf, and a CA's is seldom a client's."""
    refused = refusal(leaf, ALICE, CA, anchors=[ROOT], policy=SERVICE_POLICY)
    assert refused.reason is Reason.EXTENDED_KEY_USAGE_NOT_ALLOWED
    assert refused.detail.endswith("The leaf comes first")


def test_signature_under_a_key_that_cannot_be_read_is_refused_for_the_key() -> None:
    """Of the issuer's certificate, which the refusal is about; one that does not verify is about what was signed."""
    odd = handmade(ec.generate_private_key(ec.SECP256K1()), issuer=raw_name(b"CA"), subject=raw_name(b"CA"))
    leaf, ca, other = (Certificate.parse(der) for der in (CA.leaf().der, CA.der, odd))
    assert signature_refusal(leaf, ca) is None
    unreadable, invalid = signature_refusal(leaf, other), signature_refusal(ca, ca)
    assert unreadable is not None
    assert invalid is not None
    assert (unreadable.reason, unreadable.certificate) == (Reason.ALGORITHM_NOT_ALLOWED, odd)
    assert (invalid.reason, invalid.certificate) == (Reason.SIGNATURE_INVALID, CA.der)
