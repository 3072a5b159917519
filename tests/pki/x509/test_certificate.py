"""A certificate is read once, and whatever the parser raises, early or late, is a refusal about it."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.certificates import Authority, Minted, san
from support.outcomes import parsed
from support.raw_der import extensions_of, handmade, raw_name, sequence, tlv, with_unused_bit
from support.tampered import compressed_point, reissued

from authz.errors import Refused
from authz.pki.cache import Cache, alone
from authz.pki.cache.extensions import KnownIssuer
from authz.pki.x509.algorithms import verify_signature
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.extensions import MAX_ELEMENTS
from authz.reasons import Reason

ROOT = Authority.root()
LEAF = ROOT.leaf("alice")
KEY = ROOT.key
assert isinstance(KEY, ec.EllipticCurvePrivateKey)
NAME = raw_name(b"Root")
MALFORMED = Reason.CERTIFICATE_MALFORMED


def late(der: bytes, attribute: str) -> Reason:
    """The reason with which a certificate that loads refuses to give an attribute."""
    certificate = Certificate.parse(der)
    with pytest.raises(Refused) as caught:
        getattr(certificate, attribute)
    assert caught.value.certificate == der
    return caught.value.reason


def test_certificate_says_what_the_library_says() -> None:
    """Names, serial number, validity, key."""
    one, other = parsed(LEAF)[0], LEAF.certificate
    assert (one.subject.text, one.issuer.text) == (other.subject.rfc4514_string(), other.issuer.rfc4514_string())
    assert (one.serial, one.not_before, one.not_after) == (
        other.serial_number,
        other.not_valid_before_utc,
        other.not_valid_after_utc,
    )
    assert one.public_key == other.public_key()
    assert one.signature_algorithm == other.signature_algorithm_oid.dotted_string
    assert (one.key.kind, one.key_cost, one.v3, one.self_issued) == ("secp256r1", 1, True, False)


def test_raw_parts_are_those_of_the_der() -> None:
    """What was signed, and the key by its SubjectPublicKeyInfo."""
    one = parsed(LEAF)[0]
    spki = LEAF.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert one.signed.tbs == LEAF.certificate.tbs_certificate_bytes
    assert one.tbs_sha256 == hashlib.sha256(LEAF.certificate.tbs_certificate_bytes).digest()
    assert one.issuer_der == LEAF.certificate.issuer.public_bytes()
    assert one.spki_sha256 == hashlib.sha256(spki).digest()
    assert one.sha256 == Certificate.fingerprint(LEAF.der) == LEAF.sha256


def test_certificates_are_equal_when_their_der_is() -> None:
    """And are known by its SHA-256."""
    one, same, other = parsed(LEAF, LEAF, ROOT)
    assert one == same != other
    assert len({one, same, other}) == 2
    assert one != LEAF.der
    assert repr(one) == f"Certificate({LEAF.sha256.hex()})"


@pytest.mark.parametrize("der", [b"", b"x", b"0\x00", LEAF.der[:-1], LEAF.der + b"\x00", LEAF.pem.encode()])
def test_octets_that_are_no_certificate_are_malformed(der: bytes) -> None:
    """Cut short, padded, PEM, or nothing at all."""
    with pytest.raises(Refused) as caught:
        Certificate.parse(der)
    assert (caught.value.reason, caught.value.certificate) == (MALFORMED, der)


@pytest.mark.parametrize("version", ["a003020101", "a003020100", "a003020103"])
def test_version_that_cannot_be_is_malformed(version: str) -> None:
    """Version 1 is expressed by absence, version 2 is not in use, there is no version 4."""
    with pytest.raises(Refused) as caught:
        Certificate.parse(handmade(KEY, issuer=NAME, subject=NAME, version=bytes.fromhex(version)))
    assert caught.value.reason is MALFORMED


def test_version_1_is_read_and_is_not_version_3() -> None:
    """Whatever follows from that."""
    old = Certificate.parse(handmade(KEY, issuer=NAME, subject=NAME, version=b""))
    assert not old.v3
    assert old.self_issued
    assert old.signed.signature


@pytest.mark.parametrize(("serial", "value"), [(b"\0", 0), (b"\xff", -1), (b"\x01" * 30, int("01" * 30, 16))])
def test_serial_number_is_taken_as_it_stands(serial: bytes, value: int) -> None:
    """Zero, negative, longer than twenty octets: section 4.1.2.2 has users handle them gracefully."""
    assert Certificate.parse(handmade(KEY, issuer=NAME, subject=NAME, serial=serial)).serial == value


def test_name_that_is_too_long_is_taken_as_it_stands() -> None:
    """The upper bounds of X.520 are for issuers."""
    long = Certificate.parse(handmade(KEY, issuer=NAME, subject=raw_name(b"x" * 1000)))
    assert long.subject.text == "CN=" + "x" * 1000


@pytest.mark.parametrize("attribute", ["subject", "issuer"])
def test_name_with_letters_its_type_does_not_have_is_malformed(attribute: str) -> None:
    """Bytes that are no UTF-8."""
    odd, plain = raw_name(b"Caf\xe9"), NAME
    names = {"issuer": plain, "subject": plain, attribute: odd}
    assert late(handmade(KEY, **names), attribute) is MALFORMED  # type: ignore[arg-type]


def test_alternative_names_that_cannot_be_read_have_kinds() -> None:
    """None in others."""
    unread = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex("300787050102030405"))
    leaf = ROOT.leaf(extensions=[(unread, False)], without=[x509.SubjectAlternativeName])
    assert [one.unread_kinds for one in parsed(leaf, LEAF)] == [{x509.IPAddress}, frozenset()]


def test_algorithms_that_differ_inside_and_outside_are_malformed() -> None:
    """Section 4.1.1.2; the one outside is not signed."""
    other = bytes.fromhex("300a06082a8648ce3d040303")
    der = handmade(KEY, issuer=NAME, subject=NAME, inner=other)
    assert late(der, "signed") is MALFORMED
    assert late(der, "spki_sha256") is MALFORMED


def test_signature_with_unused_bits_does_not_verify() -> None:
    """No signature covers their number: it would verify as another certificate, with the same bytes in the library."""
    changed = Certificate.parse(with_unused_bit(ROOT.leaf().der for _ in range(99)))
    with pytest.raises(Refused) as caught:
        verify_signature(ROOT.certificate.public_key(), changed.signed)  # type: ignore[arg-type]
    assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_key_that_is_not_allowed_is_refused_before_it_is_loaded() -> None:
    """By its reason."""
    small = Authority.root(key=ec.generate_private_key(ec.SECP256K1()))
    assert late(small.der, "public_key") is Reason.ALGORITHM_NOT_ALLOWED
    assert late(small.der, "key") is Reason.ALGORITHM_NOT_ALLOWED


def test_key_that_is_no_point_of_its_curve_is_malformed() -> None:
    """The library raises when it is asked for it."""
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    spki = sequence(algorithm, tlv(0x03, b"\0\x04" + b"\x01" * 64))
    assert late(handmade(KEY, issuer=NAME, subject=NAME, spki=spki), "public_key") is MALFORMED


def test_names_that_constraints_apply_to_are_read_once() -> None:
    """And the subtrees of the certificate's own constraints."""
    value = x509.NameConstraints([x509.DNSName("a.test")], [x509.DNSName("b.test")])
    one = parsed(ROOT.intermediate("CA", extensions=[(value, True), (san("x.test"), False)]))[0]
    assert [name.text for name in one.constrained_names] == ["x.test", "CN=CA"]
    assert one.constrained_names is one.constrained_names
    assert [[name.text for name in names] for names in (one.permitted, one.excluded)] == [["a.test"], ["b.test"]]


def test_dns_and_uri_names_are_reported() -> None:
    """As gateways are named."""
    names = san("a.test", x509.UniformResourceIdentifier("spiffe://a.test/b"), x509.RFC822Name("a@a.test"))
    assert parsed(ROOT.leaf(extensions=[(names, False)]))[0].san_names == {"a.test", "spiffe://a.test/b"}


def test_certificate_whose_ca_publishes_nothing_about_it_says_so() -> None:
    """By the extension of RFC 9608."""
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.56"), b"\x05\x00"), False
    ca = Authority.root("Root")
    leaves = parsed(*(ca.leaf("leaf", extensions=some) for some in ([extension], [])))
    assert [leaf.no_rev_avail for leaf in leaves] == [True, False]


def test_points_of_crls_end_with_the_implied_one() -> None:
    """The issuer's own name."""
    one = parsed(LEAF)[0]
    assert one.crl_points[-1].crl_issuers == (one.issuer,)


def test_what_was_let_go_of_is_made_anew() -> None:
    """A remembered certificate keeps what it was read for; the rest comes from its DER again, the same."""
    one = parsed(LEAF)[0]
    before = (one.signed.tbs, one.serial, one.spki_sha256, one.public_key, one.not_after, one.extensions)
    one.let_go()
    assert (one.signed.tbs, one.serial, one.spki_sha256, one.public_key, one.not_after, one.extensions) == before
    assert one.x509 == LEAF.certificate
    one.let_go()
    assert one.x509 == LEAF.certificate


def test_name_of_an_introduced_issuer_is_shared() -> None:
    """With the distribution point it implies, for every certificate of that issuer."""
    issuers: Cache[bytes, KnownIssuer] = Cache(alone())
    first = parsed(LEAF)[0]
    first.introduce_issuer(issuers)
    first.introduce_issuer(issuers)
    assert [entry.value.name for entry in issuers.entries.values()] == [first.issuer]
    second, third = (Certificate.parse(ROOT.leaf(name).der, issuers) for name in ("bob", "carol"))
    assert second.issuer is third.issuer is first.issuer
    assert second.crl_points is third.crl_points
    assert second.crl_points == first.crl_points


@pytest.mark.parametrize("used", [True, False])
def test_points_of_leaves_of_one_kind_are_shared(used: bool) -> None:
    """Those of the one learned from, if they were asked for; stated by another list, they are others."""

    def leaf(name: str, url: str = "http://crl.test/a") -> Minted:
        return ROOT.leaf(name, extensions=[(points(url), False)])

    issuers: Cache[bytes, KnownIssuer] = Cache(alone())
    first = parsed(leaf("alice"))[0]
    if used:
        first.crl_points  # noqa: B018 - read
    first.introduce_issuer(issuers)
    second, third = (Certificate.parse(leaf(name).der, issuers) for name in ("bob", "carol"))
    assert second.crl_points is third.crl_points
    assert (second.crl_points is first.crl_points) is used
    assert second.crl_points == first.crl_points == parsed(leaf("bob"))[0].crl_points
    other = leaf("dora", "http://crl.test/b")
    assert Certificate.parse(other.der, issuers).crl_points == parsed(other)[0].crl_points != first.crl_points


def points(url: str) -> x509.CRLDistributionPoints:
    """One point with one URL."""
    full_name = [x509.UniformResourceIdentifier(url)]
    return x509.CRLDistributionPoints([x509.DistributionPoint(full_name, None, None, None)])


def test_key_is_at_hand_in_der() -> None:
    """The very octets of which `spki` is the digest."""
    ca = Authority.root("CA")
    info = Certificate.parse(ca.der).spki_der
    assert info == ca.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert hashlib.sha256(info).digest() == Certificate.parse(ca.der).spki_sha256


READ_AHEAD = {"issuer", "subject", "key", "signature_algorithm", "serial", "not_before", "not_after", "self_issued"}


def test_leaf_of_a_known_issuer_is_read_ahead_and_says_what_it_says_without() -> None:
    """Its extensions are recalled."""
    issuers: Cache[bytes, KnownIssuer] = Cache(alone())
    parsed(LEAF)[0].introduce_issuer(issuers)
    bob = ROOT.leaf("bob")
    known, fresh = Certificate.parse(bob.der, issuers), Certificate.parse(bob.der)
    known.read_ahead()
    assert vars(known).keys() >= READ_AHEAD
    for name in (*READ_AHEAD, "alternative_names", "subject_key_id", "crl_points", "san_names"):
        assert getattr(known, name) == getattr(fresh, name)
    assert (known.signed.tbs, known.extensions.key_usage) == (fresh.signed.tbs, fresh.extensions.key_usage)


@pytest.mark.parametrize(
    "other", [Authority.root("Other"), ROOT.leaf("carol", extensions=[(san("carol.test"), True)]), ROOT.intermediate()]
)
def test_certificate_of_another_kind_is_not_read_ahead(other: Minted) -> None:
    """What it would cost is the client's choice."""
    issuers: Cache[bytes, KnownIssuer] = Cache(alone())
    parsed(LEAF)[0].introduce_issuer(issuers)
    one = Certificate.parse(other.der, issuers)
    one.read_ahead()
    assert not vars(one).keys() & READ_AHEAD - {"issuer"}


def test_what_cannot_be_read_ahead_is_reported_when_it_is_asked_for() -> None:
    """As without a known issuer."""
    issuers: Cache[bytes, KnownIssuer] = Cache(alone())
    parsed(LEAF)[0].introduce_issuer(issuers)
    field = parsed(LEAF)[0]._layout.extensions
    for odd in (
        handmade(KEY, issuer=NAME, subject=raw_name(b"\xe9"), extensions=field),
        handmade(KEY, issuer=NAME, subject=raw_name(b"\xe9"), inner=bytes.fromhex("300a06082a8648ce3d040303")),
    ):
        one = Certificate.parse(odd, issuers)
        one.read_ahead()
        with pytest.raises(Refused) as caught:
            one.subject  # noqa: B018 - which is what raises
        assert caught.value.reason is MALFORMED


def test_certificate_lets_go_of_what_it_can_make_anew() -> None:
    """Whatever of it was read."""
    one, fresh = parsed(LEAF, LEAF)
    read = (one.signed.tbs, one.serial)
    for certificate in (one, fresh, fresh):
        certificate.let_go()
        assert not vars(certificate).keys() & {"_layout", "signed"}
        assert (certificate.signed.tbs, certificate.serial) == read


CA_FLAG = (b"\x55\x1d\x13", True, bytes.fromhex("30030101ff"))
MANY_NAMES = sequence(tlv(0x82, b"a") * (MAX_ELEMENTS + 1))


@pytest.mark.parametrize("version", ["a003020102", ""])
def test_extensions_are_counted_before_the_library_reads_them(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any version, and behind unique identifiers."""
    monkeypatch.setattr("authz.pki.x509.certificate.read_extensions", None)
    extensions = extensions_of(CA_FLAG, (b"\x55\x1d\x11", False, MANY_NAMES))
    behind = b"\x81\x02\x00\x01" + extensions if version else extensions
    given = {"issuer": NAME, "subject": NAME, "version": bytes.fromhex(version)}
    with pytest.raises(Refused, match="too many subject alternative names") as caught:
        Certificate.parse(handmade(KEY, **given, extensions=behind)).extensions  # type: ignore[arg-type]  # noqa: B018
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED


def test_weight_is_that_of_extensions_and_names() -> None:
    """Elements, of which each extension has three of its own, and a fourth of the bytes of both names."""
    bare = Certificate.parse(handmade(KEY, issuer=NAME, subject=raw_name(b"x" * 83)))
    assert bare.weight == (len(NAME) + len(raw_name(b"x" * 83))) // 4
    flagged = Certificate.parse(handmade(KEY, issuer=NAME, subject=NAME, extensions=extensions_of(CA_FLAG)))
    assert flagged.weight == 5 + len(NAME) // 2
    flagged.let_go()
    assert flagged.weight == 5 + len(NAME) // 2


def test_key_of_a_ca_has_one_plain_form() -> None:
    """Under which its CRLs are filed, whatever form another CA certified it in."""
    root = Authority.root()
    ca = root.intermediate()
    plain, other = (Certificate.parse(each.der) for each in (ca, reissued(ca, root, compressed_point)))
    assert plain.spki_sha256 != other.spki_sha256
    assert plain.plain_spki_sha256 == other.plain_spki_sha256 == plain.spki_sha256
    assert plain.plain_spki == other.plain_spki
