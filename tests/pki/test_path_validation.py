"""One rule broken at a time, and the reason that tells it: RFC 5280 section 6.1, through the public entry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pki_factory import NOW, Authority, Minted, name, new_key, san, usage

from authz.errors import Refused
from authz.pki import (
    SERVICE_POLICY,
    Budget,
    Certificate,
    Origin,
    TrustAnchor,
    TrustStore,
    ValidationPolicy,
    verify_chain,
    verify_path,
)
from authz.reasons import Reason

ROOT = Authority.root("Root")
CA = ROOT.intermediate("CA")
ALICE = CA.leaf("alice")
DAY = timedelta(days=1)
Extension = tuple[x509.ExtensionType, bool]


def outcome(
    leaf: Minted, *pool: Minted, anchors: Sequence[Minted] = (ROOT,), policy: ValidationPolicy = SERVICE_POLICY
) -> Reason | None:
    """The reason of the refusal, None where a path verifies; revocation left out."""
    ders = [one.der for one in pool]
    try:
        verify_chain(
            leaf.der, pool=ders, anchors=[one.der for one in anchors], at=NOW, policy=policy, check_revocation=False
        )
    except Refused as refused:
        return refused.reason
    return None


def constrained(permitted: Sequence[x509.GeneralName] = (), excluded: Sequence[x509.GeneralName] = ()) -> Authority:
    """A CA with name constraints."""
    value = x509.NameConstraints(list(permitted) or None, list(excluded) or None)
    return ROOT.intermediate("CA", extensions=[(value, True)])


def named(issuer: Authority, *names: str | x509.GeneralName, subject: str | x509.Name = "x") -> Minted:
    """A leaf with these alternative names."""
    return issuer.leaf(subject, extensions=[(san(*names), False)])


NO_CA = ROOT.intermediate("CA", extensions=[(x509.BasicConstraints(ca=False, path_length=None), True)])
NO_BC = ROOT.intermediate("CA", without=[x509.BasicConstraints])
NO_SIGN = ROOT.intermediate("CA", extensions=[(usage("crl_sign"), True)])
SERVERS = ROOT.intermediate("CA", extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
ZERO = ROOT.intermediate("CA", path_length=0)
BELOW = ZERO.intermediate("Below")
OLD = ROOT.intermediate("CA", not_after=NOW - DAY)
YOUNG = ROOT.intermediate("CA", not_before=NOW + DAY)
UNKNOWN: Extension = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
SMALL, LARGE = new_key("rsa1024"), new_key("rsa2048")
IMPOSTOR = Authority.root("Impostor").intermediate("CA")
R = Reason


@pytest.mark.parametrize(
    ("leaf", "pool", "reason"),
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
    leaf: Minted, pool: Sequence[Minted], reason: Reason | None
) -> None:
    """Builder, dates, CA, key usage, purposes, path length, critical extensions."""
    assert outcome(leaf, *pool) is reason


@pytest.mark.parametrize("purpose", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
def test_purpose_of_the_leaf_must_be_client_authentication(purpose: x509.ObjectIdentifier) -> None:
    """For the service "any" is not said; a library user may take it."""
    leaf = CA.leaf(extensions=[(x509.ExtendedKeyUsage([purpose]), False)])
    assert outcome(leaf, CA) is R.EXTENDED_KEY_USAGE_NOT_ALLOWED
    wide = purpose == ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
    assert (outcome(leaf, CA, policy=ValidationPolicy()) is None) is wide


def test_trust_anchor_as_leaf_is_self_signed() -> None:
    """A registered root is nobody's proof."""
    root = Authority.root(extensions=[(usage("digital_signature", "key_cert_sign"), True)])
    assert outcome(root, anchors=[root], policy=ValidationPolicy(extended_key_usage=None)) is R.CERTIFICATE_SELF_SIGNED


def test_trust_anchor_expired_anchors_nothing() -> None:
    """Its validity counts like everybody's."""
    old = Authority.root("Root", not_after=NOW - DAY)
    assert outcome(old.leaf(), anchors=[old]) is R.CERTIFICATE_EXPIRED


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "ed25519", "ed448", "rsa2048"])
def test_signature_of_an_accepted_kind_verifies(kind: str) -> None:
    """And the key signs leaves and CAs alike."""
    root = Authority.root(key=new_key(kind))
    middle = root.intermediate(key=new_key(kind))
    assert outcome(middle.leaf(), middle, anchors=[root]) is None


PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
MIXED = padding.PSS(mgf=padding.MGF1(hashes.SHA512()), salt_length=32)
LONG = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=100)


@pytest.mark.parametrize(
    ("rsa_padding", "reason"), [(PSS, None), (MIXED, R.ALGORITHM_NOT_ALLOWED), (LONG, R.ALGORITHM_NOT_ALLOWED)]
)
def test_pss_parameters_are_checked(rsa_padding: padding.PSS, reason: Reason | None) -> None:
    """SHA-2 throughout, a salt no longer than a digest."""
    root = Authority.root(key=LARGE)
    assert outcome(root.leaf(rsa_padding=rsa_padding), anchors=[root]) is reason


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        (Authority.root(key=SMALL), R.KEY_SIZE_NOT_ALLOWED),
        (Authority.root(key=LARGE, digest=hashes.SHA256()), None),
    ],
)
def test_key_below_2048_bits_is_refused(root: Authority, reason: Reason | None) -> None:
    """Whoever's it is."""
    assert outcome(root.leaf(), anchors=[root]) is reason


def test_sha1_is_refused() -> None:
    """By policy, before anything is verified."""
    root = Authority.root(key=LARGE)
    assert outcome(root.leaf(digest=hashes.SHA224()), anchors=[root]) is R.ALGORITHM_NOT_ALLOWED


def test_signature_broken_in_one_bit_is_invalid() -> None:
    """The last octet of the leaf's."""
    der = bytearray(ALICE.der)
    der[-1] ^= 1
    with pytest.raises(Refused) as caught:
        verify_chain(bytes(der), pool=[CA.der], anchors=[ROOT.der], at=NOW, check_revocation=False)
    assert caught.value.reason is R.SIGNATURE_INVALID


@pytest.mark.parametrize("der", [b"", b"x", b"0\x00", ALICE.der[:-1], ALICE.der + b"\x00"])
def test_octets_that_are_no_certificate_are_malformed(der: bytes) -> None:
    """Cut short, padded, or nothing at all; as leaf, in the pool, as anchor."""
    for leaf, pool, anchors in ((der, [], [ROOT.der]), (ALICE.der, [der], [ROOT.der]), (ALICE.der, [], [der])):
        with pytest.raises(Refused) as caught:
            verify_chain(leaf, pool=pool, anchors=anchors, at=NOW, check_revocation=False)
        assert caught.value.reason is R.CERTIFICATE_MALFORMED


def test_anchors_empty_trust_nobody() -> None:
    """Emptiness fails."""
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[CA.der], anchors=[], at=NOW, check_revocation=False)
    assert caught.value.reason is R.TRUST_ANCHORS_MISSING


def test_crls_empty_are_unknown_not_good() -> None:
    """Revocation is checked unless it is said not to be."""
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[CA.der], anchors=[ROOT.der], at=NOW)
    assert caught.value.reason is R.REVOCATION_UNKNOWN


DNS, MAIL, URI = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier
IP, DIRECTORY = x509.IPAddress, x509.DirectoryName
PEOPLE = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "People")])
PERSON = x509.Name([*PEOPLE, x509.NameAttribute(NameOID.COMMON_NAME, "p")])
UPN = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a")
OUT, UNSUPPORTED = R.NAME_CONSTRAINT_VIOLATED, R.NAME_CONSTRAINT_UNSUPPORTED
IN_NET, OUT_NET = (IP(ip_network(one).network_address) for one in ("10.1.2.3/32", "11.1.2.3/32"))


@pytest.mark.parametrize(
    ("permitted", "excluded", "names", "reason"),
    [
        ([DNS("good.test")], [], ["good.test"], None),
        ([DNS("good.test")], [], ["a.GOOD.test"], None),
        ([DNS("good.test")], [], ["notgood.test"], OUT),
        ([DNS("good.test")], [], ["a.good.test", "bad.test"], OUT),
        ([], [DNS("bad.test")], ["good.test"], None),
        ([], [DNS("bad.test")], ["a.bad.test"], OUT),
        ([], [DNS("a.bad.test")], ["*.bad.test"], OUT),
        ([DNS("good.test")], [DNS("bad.good.test")], ["bad.good.test"], OUT),
        ([DNS("a.test"), DNS("b.test")], [], ["x.b.test"], None),
        ([MAIL("host.test")], [], [MAIL("a@host.test")], None),
        ([MAIL("host.test")], [], [MAIL("a@sub.host.test")], OUT),
        ([MAIL(".host.test")], [], [MAIL("a@sub.host.test")], None),
        ([MAIL("a@host.test")], [], [MAIL("b@host.test")], OUT),
        ([URI("host.test")], [], [URI("https://host.test/x")], None),
        ([URI("host.test")], [], [URI("https://a.host.test/x")], OUT),
        ([URI(".host.test")], [], [URI("https://a.host.test:1/x")], None),
        ([URI("host.test")], [], [URI("https://evil.test/@host.test")], OUT),
        ([URI("host.test")], [], [URI("https://host.test@evil.test/")], OUT),
        ([], [URI("host.test")], [URI("urn:x")], OUT),
        ([], [URI("host.test")], [URI("https://127.0.0.1/")], OUT),
        ([IP(ip_network("10.0.0.0/8"))], [], [IN_NET], None),
        ([IP(ip_network("10.0.0.0/8"))], [], [OUT_NET], OUT),
        ([], [IP(ip_network("10.0.0.0/8"))], [IN_NET], OUT),
        ([DIRECTORY(PEOPLE)], [], [DIRECTORY(PERSON)], OUT),
        ([UPN], [], [UPN], UNSUPPORTED),
        ([UPN], [], ["a.test"], None),
    ],
)
def test_name_constraints_decide_every_kind(
    permitted: list[x509.GeneralName],
    excluded: list[x509.GeneralName],
    names: list[str | x509.GeneralName],
    reason: Reason | None,
) -> None:
    """Permitted and excluded, DNS, e-mail, URI, address; a kind that cannot be compared refuses its own names only."""
    issuer = constrained(permitted, excluded)
    assert outcome(named(issuer, *names), issuer) is reason


@pytest.mark.parametrize(("subject", "reason"), [(PERSON, None), (name("p"), OUT)])
def test_directory_name_constraint_covers_the_subject(subject: x509.Name, reason: Reason | None) -> None:
    """A subject below the permitted one."""
    issuer = constrained([DIRECTORY(PEOPLE)])
    assert outcome(named(issuer, subject=subject), issuer) is reason


def test_email_in_the_subject_is_constrained_like_an_alternative_name() -> None:
    """Where old certificates have it."""
    issuer = constrained([MAIL("host.test")])
    subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@evil.test")])
    assert outcome(issuer.leaf(subject), issuer) is OUT


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        ({"permitted": (DNS("other.test"),)}, OUT),
        ({"excluded": (DNS("example.test"),)}, OUT),
        ({"path_length": 0}, R.PATH_LENGTH_EXCEEDED),
    ],
)
def test_anchor_constrained_by_the_operator_refuses_beyond(constraint: dict[str, object], reason: Reason) -> None:
    """Names and path length, beside what the anchor says itself."""
    trusted = TrustAnchor(Certificate.parse(ROOT.der), **constraint)  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        verify_path(Certificate.parse(ALICE.der), [Certificate.parse(CA.der)], TrustStore([trusted]), None, NOW)
    assert caught.value.reason is reason


def policies(*oids: str) -> Extension:
    """Certificate policies."""
    found = [x509.PolicyInformation(x509.ObjectIdentifier(one), None) for one in oids]
    return x509.CertificatePolicies(found), False


def test_explicit_policy_is_demanded_where_somebody_says_so() -> None:
    """The policy's inputs, or a CA's constraint."""
    explicit = ValidationPolicy(require_explicit_policy=True)
    with_policy = ROOT.intermediate("CA", extensions=[policies("1.2.3")])
    good, bad = with_policy.leaf(extensions=[policies("1.2.3")]), with_policy.leaf(extensions=[policies("1.2.4")])
    assert outcome(good, with_policy, policy=explicit) is None
    assert outcome(bad, with_policy, policy=explicit) is R.POLICY_NOT_ALLOWED
    assert outcome(bad, with_policy) is None
    wanted = ValidationPolicy(require_explicit_policy=True, initial_policy_set=frozenset({"1.2.4"}))
    assert outcome(good, with_policy, policy=wanted) is R.POLICY_NOT_ALLOWED


def test_path_tells_where_each_certificate_was_found() -> None:
    """Presented, known, trusted."""
    known = TrustStore([Certificate.parse(ROOT.der)], [Certificate.parse(CA.der)])
    path = verify_path(Certificate.parse(ALICE.der), [], known, None, NOW)
    assert path.origins == (Origin.PRESENTED, Origin.KNOWN, Origin.ANCHOR)
    path = verify_path(
        Certificate.parse(ALICE.der), [Certificate.parse(CA.der)], TrustStore([known.anchors[0]]), None, NOW
    )
    assert path.origins == (Origin.PRESENTED, Origin.PRESENTED, Origin.ANCHOR)
    assert [one.der for one in path.certificates] == [ALICE.der, CA.der, ROOT.der]


def test_refusal_names_the_certificate_and_the_path() -> None:
    """The expired intermediate, and the way that led to it."""
    with pytest.raises(Refused) as caught:
        verify_chain(OLD.leaf().der, pool=[OLD.der], anchors=[ROOT.der], at=NOW, check_revocation=False)
    assert caught.value.certificate == OLD.der
    assert caught.value.path[1:] == (OLD.der,)
    assert "expired on" in caught.value.detail


def mesh(size: int) -> tuple[list[Authority], Minted]:
    """CAs that all signed one another, none of them by a root."""
    keys = [new_key() for _ in range(size)]
    cas = [Authority.root(f"M{number}", key=key) for number, key in enumerate(keys)]
    crossed = [
        one.intermediate(f"M{number}", key=key) for one in cas for number, key in enumerate(keys) if one.key is not key
    ]
    return crossed, cas[0].leaf()


@pytest.mark.parametrize("size", [6, 10])
def test_mesh_of_cross_signed_cas_ends_within_the_budget(size: int) -> None:
    """However many ways there are, the work is bounded, and the refusal says so."""
    crossed, leaf = mesh(size)
    pool = [Certificate.parse(one.der) for one in crossed]
    budget = Budget(steps=200, signatures=60)
    with pytest.raises(Refused) as caught:
        verify_path(
            Certificate.parse(leaf.der), pool, TrustStore([Certificate.parse(ROOT.der)]), None, NOW, budget=budget
        )
    assert caught.value.reason is R.BUDGET_EXCEEDED
    assert min(budget.steps, budget.signatures) == -1


def test_many_issuers_of_one_name_end_within_the_budget() -> None:
    """140 CAs of one name, one of them the right one; found or refused, but bounded."""
    right = ROOT.intermediate("Same")
    wrong = [Authority.root("Same", key=new_key()) for _ in range(20)] * 7
    pool = [Certificate.parse(one.der) for one in (*wrong, right)]
    path = verify_path(Certificate.parse(right.leaf().der), pool, TrustStore([Certificate.parse(ROOT.der)]), None, NOW)
    assert path.certificates[1].der == right.der
