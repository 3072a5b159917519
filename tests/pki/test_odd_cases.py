"""The odd cases of docs/validation.md, each as the page says: to the library's default policy, and to the service's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.certificates import NOW, Authority, Minted, new_key, san
from support.mutants import Node
from support.odd_encodings import UMLAUT
from support.raw_der import extensions_of, handmade, raw_name, sequence, spki_of, tlv, with_unused_bit
from support.tampered import Change, of_serial, of_version_1, pss_key, reissued, signed_again

from authz.errors import Refused
from authz.pki import DEFAULT_POLICY, SERVICE_POLICY, ValidationPolicy, verify_chain
from authz.reasons import Reason

PAGE = Path(__file__).parents[2] / "docs" / "validation.md"
ROOT = Authority.root("Root")
CA = ROOT.intermediate("CA")
KEY = CA.key
assert isinstance(KEY, ec.EllipticCurvePrivateKey)
R = Reason
EKU = bytes.fromhex("551d25")
FOR_CLIENTS = sequence(tlv(0x06, bytes.fromhex("2b06010505070302")))
POLICIES, POLICY = bytes.fromhex("551d20"), sequence(tlv(0x06, b"\x2a\3"))
CLIENTS = extensions_of((EKU, False, FOR_CLIENTS))
ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
ECDSA_NULL = bytes.fromhex("300c06082a8648ce3d0403020500")
ECDSA_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")
NO_POINT = sequence(bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"), tlv(0x03, b"\0\x04" + b"\x01" * 64))


@dataclass(frozen=True)
class Case:
    """What is presented, and what the library and the service say: a reason, or None where it verifies."""

    leaf: Minted | bytes
    library: Reason | None = None
    service: Reason | None = None
    pool: Sequence[Minted | bytes] = (CA,)
    anchor: Minted = ROOT
    crls: Sequence[bytes] = (ROOT.crl(), CA.crl())


def refused(leaf: Minted | bytes, reason: Reason, **given: object) -> Case:
    """Refused by both."""
    return Case(leaf, reason, reason, **given)  # type: ignore[arg-type]


def odd(**parts: bytes) -> bytes:
    """A leaf of the CA, for clients, put together by hand."""
    given = {"issuer": raw_name(b"CA"), "subject": raw_name(b"alice"), "extensions": CLIENTS, **parts}
    return handmade(KEY, **given)  # type: ignore[arg-type]


def below(ca: Authority, *names: x509.GeneralName, **options: object) -> Case:
    """A leaf of a CA of its own under the root, accepted by both."""
    options |= {"extensions": [(san(*names), False)]} if names else {}
    return Case(ca.leaf(**options), pool=[ca], crls=[ROOT.crl(), ca.crl()])


def refused_below(reason: Reason, ca: Authority, *names: x509.GeneralName, **options: object) -> Case:
    """The same, refused by both."""
    one = below(ca, *names, **options)
    return refused(one.leaf, reason, pool=one.pool, crls=one.crls)


def constrained(*permitted: x509.GeneralName) -> Authority:
    """A CA with permitted subtrees."""
    return ROOT.intermediate("Narrow", extensions=[(x509.NameConstraints(permitted, None), True)])


def empty(subtrees: int, tag: int) -> Authority:
    """A CA with one empty subtree of the kind of `tag`, permitted or excluded; no builder makes it."""
    value = sequence(tlv(subtrees, sequence(tlv(tag))))
    constraints = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), value)
    return ROOT.intermediate("Narrow", extensions=[(constraints, True)])


def until(tag: int, text: bytes) -> Change:
    """A notAfter of one's own."""

    def change(signed: Node) -> None:
        # version, serialNumber, signature, issuer, validity
        signed.children[4].children[1] = Node(tag, text)

    return change


def purposes(*oids: x509.ObjectIdentifier) -> list[tuple[x509.ExtensionType, bool]]:
    """An extended key usage."""
    return [(x509.ExtendedKeyUsage(oids), False)]


def points(count: int) -> list[tuple[x509.ExtensionType, bool]]:
    """A distribution point of so many names."""
    names = [x509.UniformResourceIdentifier(f"http://a/{number}") for number in range(count)]
    return [(x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)]), False)]


def raw(oid: str, value: str, *, critical: bool = False) -> tuple[x509.ExtensionType, bool]:
    """An extension in bytes of one's choice."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), bytes.fromhex(value)), critical


def with_extension(oid: str, value: str, *, critical: bool = False, expected: Reason | None = None) -> Case:
    """A leaf with such an extension, in the place of what it has of that kind."""
    kinds = [x509.SubjectAlternativeName, x509.AuthorityKeyIdentifier]
    leaf = CA.leaf(extensions=[raw(oid, value, critical=critical)], without=kinds)
    return Case(leaf) if expected is None else refused(leaf, expected)


def of_names(value: str) -> dict[str, object]:
    """What a leaf is made of to have these bytes as its alternative names."""
    return {"extensions": [raw("2.5.29.17", value)], "without": [x509.SubjectAlternativeName]}


def named(text: str) -> x509.Name:
    """A name of one common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


TELETEX_SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Caf\u00e9", _type=_ASN1Type.T61String)])
BAD_ADDRESS = "300787050102030405"
OTHER_QUALIFIER = "300e300c06022a033006300406022a05"

MAILED = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b.test")])
MAIL, DNS = x509.RFC822Name, x509.DNSName
UTF8_MAIL = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), b"\x0c\x09\xc3\xa9@b.test")
OLD_CA = reissued(CA, ROOT, of_version_1)
OLD_ROOT = reissued(ROOT, ROOT, of_version_1)
EXPIRED = Authority.root("Root", not_after=NOW - timedelta(days=1))
NARROW = Authority.root("Root", extensions=[(x509.NameConstraints([DNS("b.test")], None), True)])
BARE = ROOT.intermediate("Bare", without=[x509.KeyUsage])
RSA_CA = ROOT.intermediate("RSA", key=new_key("rsa2048"))
RSA_MD5 = bytes.fromhex("300d06092a864886f70d0101040500")
ELSEWHERE = ec.generate_private_key(ec.SECP256K1())

CASES: dict[str, list[Case]] = {
    "serial number zero or negative": [
        Case(reissued(CA.leaf(), CA, of_serial(serial)).der) for serial in (b"\0", b"\x80", b"\xff\x01")
    ],
    "names longer than their upper bound": [Case(odd(subject=raw_name(b"x" * 100)))],
    "TeletexString in a name": [
        Case(odd(subject=raw_name(b"alice", 0x14))),
        Case(odd(issuer=raw_name(b"ca", 0x14))),
        Case(odd(subject=raw_name(b"Caf\xe9", 0x14))),
        *(
            refused_below(
                R.NAME_CONSTRAINT_VIOLATED,
                ROOT.intermediate(
                    "Narrow", extensions=[(x509.NameConstraints(None, [x509.DirectoryName(base)]), True)]
                ),
                x509.DirectoryName(TELETEX_SUBJECT),
            )
            for base in (named("Caf\u00e9"), named("Caf\u00c3\u00a9"))
        ),
        *(
            refused_below(
                R.NAME_CONSTRAINT_VIOLATED,
                constrained(x509.DirectoryName(base)),
                x509.DirectoryName(TELETEX_SUBJECT),
                subject=base,
            )
            for base in (named("Caf\u00e9"), named("Caf\u00c3\u00a9"))
        ),
        below(
            constrained(x509.DirectoryName(TELETEX_SUBJECT)),
            x509.DirectoryName(TELETEX_SUBJECT),
            subject=TELETEX_SUBJECT,
        ),
    ],
    "PrintableString with bytes beyond ASCII (latin-1, GBK) in an issuer or subject": [
        Case(odd(subject=raw_name(b"Caf\xe9", 0x13))),
        refused(odd(issuer=raw_name(b"C\xe1", 0x13)), R.ISSUER_UNKNOWN),
    ],
    "an attribute of a name that is no character string": [
        Case(odd(subject=raw_name(b"\0alice", 0x03))),
        refused(odd(issuer=raw_name(b"CA", 0x04)), R.ISSUER_UNKNOWN),
        refused(odd(subject=sequence(tlv(0x31))), R.CERTIFICATE_MALFORMED),
    ],
    "a leaf's key that is no point of its curve": [refused(odd(spki=NO_POINT), R.CERTIFICATE_MALFORMED)],
    "more than 200 names in the distribution points of one certificate": [
        Case(CA.leaf(extensions=points(200))),
        refused(CA.leaf(extensions=points(201)), R.BUDGET_EXCEEDED),
    ],
    "more than 1,040 elements in the extensions of one certificate": [
        Case(CA.leaf(extensions=[(san(*["a.test"] * 1_000), False)])),
        refused(CA.leaf(extensions=[(san(*["a.test"] * 1_040), False)]), R.CERTIFICATE_MALFORMED),
    ],
    "more than 30 combining marks in a row, or 2,048 bytes, in a name": [
        Case(odd(subject=raw_name(("a" + "\u0316" * 30).encode()))),
        refused(odd(subject=raw_name(("a" + "\u0344" * 16).encode())), R.CERTIFICATE_MALFORMED),
        refused(odd(subject=raw_name(b"a" * 2_048)), R.CERTIFICATE_MALFORMED),
    ],
    "version 1 certificate": [
        refused(CA.leaf(), R.NOT_A_CA, pool=[OLD_CA]),
        Case(CA.leaf(), anchor=OLD_ROOT),
        Case(odd(version=b"", extensions=b""), service=R.EXTENDED_KEY_USAGE_NOT_ALLOWED),
        refused(odd(version=b""), R.CERTIFICATE_MALFORMED),
    ],
    "extended key usage absent from the leaf": [
        Case(CA.leaf(without=[x509.ExtendedKeyUsage]), service=R.EXTENDED_KEY_USAGE_NOT_ALLOWED)
    ],
    "anyExtendedKeyUsage": [
        Case(
            CA.leaf(extensions=purposes(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)),
            service=R.EXTENDED_KEY_USAGE_NOT_ALLOWED,
        ),
        below(ROOT.intermediate("Any", extensions=purposes(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE))),
    ],
    "extended key usage in a CA certificate": [
        below(ROOT.intermediate("Clients", extensions=purposes(ExtendedKeyUsageOID.CLIENT_AUTH))),
        refused_below(
            R.EXTENDED_KEY_USAGE_NOT_ALLOWED,
            ROOT.intermediate("Servers", extensions=purposes(ExtendedKeyUsageOID.SERVER_AUTH)),
        ),
    ],
    "key usage absent": [below(BARE, without=[x509.KeyUsage])],
    "trust anchor expired, or with constraints of its own": [
        refused(EXPIRED.leaf(), R.CERTIFICATE_EXPIRED, anchor=EXPIRED, crls=[EXPIRED.crl()]),
        refused(NARROW.leaf(), R.NAME_CONSTRAINT_VIOLATED, anchor=NARROW, crls=[NARROW.crl()]),
    ],
    "a self-signed leaf, or an anchor shown as leaf": [
        refused(Authority.root("Selfish").leaf("Selfish"), R.CERTIFICATE_SELF_SIGNED),
        refused(ROOT.leaf("Root", key=ROOT.key), R.CERTIFICATE_SELF_SIGNED),
    ],
    "algorithms inside and outside the signed part differ": [refused(odd(outer=ECDSA_SHA384), R.CERTIFICATE_MALFORMED)],
    "a signature with unused bits, of a certificate or CRL": [
        refused(with_unused_bit(CA.leaf().der for _ in range(99)), R.SIGNATURE_INVALID),
        refused(
            CA.leaf(),
            R.REVOCATION_UNKNOWN,
            crls=[ROOT.crl(), with_unused_bit(CA.crl(number=number) for number in range(99))],
        ),
    ],
    "MD5, DSA, RSA below 1,024 or above 8,192 bits, other curves than NIST's three and brainpool's `r1`": [
        refused(odd(inner=RSA_MD5, outer=RSA_MD5), R.ALGORITHM_NOT_ALLOWED),
        refused(odd(spki=spki_of(ELSEWHERE)), R.ALGORITHM_NOT_ALLOWED),
    ],
    "SHA-1, RSA below 2,048 bits, brainpool, keys for RSASSA-PSS": [
        refused(odd(inner=ECDSA_SHA1, outer=ECDSA_SHA1), R.ALGORITHM_NOT_ALLOWED),
        refused(CA.leaf(key=new_key("rsa1024")), R.KEY_SIZE_NOT_ALLOWED),
        refused(CA.leaf(key=new_key("bp256")), R.ALGORITHM_NOT_ALLOWED),
        refused(reissued(CA.leaf(key=RSA_CA.key), CA, pss_key()), R.ALGORITHM_NOT_ALLOWED),
    ],
    "RSASSA-PSS with a long salt": [below(RSA_CA, rsa_padding=padding.PSS(padding.MGF1(SHA256()), 222))],
    "an encoding that is not DER and has one reading": [
        Case(odd(extensions=tlv(0xA3, sequence(sequence(tlv(0x06, EKU), tlv(0x01, b"\0"), tlv(0x04, FOR_CLIENTS)))))),
        Case(odd(subject=raw_name(b"a@b.test", 0x13))),
        Case(odd(subject=raw_name(b"a_b", 0x13))),
        Case(odd(inner=ECDSA_NULL, outer=ECDSA_NULL)),
        refused(odd(inner=ECDSA_NULL), R.CERTIFICATE_MALFORMED),
    ],
    "times in another form": [
        refused(one, R.CERTIFICATE_MALFORMED)
        for one in (
            signed_again(CA.leaf().der, CA, until(0x17, b"4912312359Z")),
            signed_again(CA.leaf().der, CA, until(0x17, b"491231235959+0000")),
            signed_again(CA.leaf().der, CA, until(0x18, b"20491231235959.5Z")),
        )
    ],
    "an extension that no rule asks for": [
        with_extension("1.3.6.1.5.5.7.1.24", "3003020104"),
        with_extension("2.5.29.9", "ff", critical=True),
        with_extension("2.5.29.18", "ff"),
        with_extension("1.3.6.1.5.5.7.1.24", "3003020104", critical=True, expected=R.CRITICAL_EXTENSION_UNKNOWN),
    ],
    "alternative names that cannot be read": [
        with_extension("2.5.29.17", BAD_ADDRESS),
        with_extension("2.5.29.17", BAD_ADDRESS, critical=True, expected=R.CERTIFICATE_MALFORMED),
        below(constrained(DNS("b.test")), **of_names(BAD_ADDRESS)),
        refused_below(
            R.NAME_CONSTRAINT_VIOLATED,
            constrained(x509.IPAddress(ip_network("10.0.0.0/8"))),
            **of_names(BAD_ADDRESS),
        ),
        refused_below(R.NAME_CONSTRAINT_VIOLATED, constrained(DNS("b.test")), **of_names("ff")),
    ],
    "a key identifier, or points of fresher CRLs, that cannot be read": [
        case
        for oid in ("2.5.29.14", "2.5.29.35", "2.5.29.46")
        for case in (
            with_extension(oid, "ff"),
            with_extension(oid, "ff", critical=True, expected=R.CERTIFICATE_MALFORMED),
        )
    ],
    "a certificate policy with a qualifier that cannot be read": [
        with_extension("2.5.29.32", UMLAUT.hex()),
        with_extension("2.5.29.32", UMLAUT.hex(), critical=True),
        with_extension("2.5.29.32", "300a300806022a0330023000"),
        with_extension("2.5.29.32", OTHER_QUALIFIER),
        with_extension("2.5.29.32", OTHER_QUALIFIER, critical=True, expected=R.CRITICAL_EXTENSION_UNKNOWN),
    ],
    "a certificate policy that stands twice": [
        refused(
            odd(extensions=extensions_of((EKU, False, FOR_CLIENTS), (POLICIES, False, sequence(*[POLICY] * 2)))),
            R.CERTIFICATE_MALFORMED,
        )
    ],
    "GeneralizedTime for a date before 2050": [
        Case(signed_again(CA.leaf().der, CA, until(0x18, b"20491231235959Z"))),
        refused(signed_again(CA.leaf().der, CA, until(0x18, b"20260531000000Z")), R.CERTIFICATE_EXPIRED),
    ],
    "an e-mail address in the subject, or beyond ASCII": [
        below(constrained(MAIL("b.test")), subject=MAILED),
        refused_below(R.NAME_CONSTRAINT_VIOLATED, constrained(MAIL("c.test")), subject=MAILED),
        refused_below(R.NAME_CONSTRAINT_VIOLATED, constrained(MAIL("b.test")), MAIL("a@c.test"), subject=MAILED),
        below(constrained(MAIL("b.test")), UTF8_MAIL),
        refused_below(R.NAME_CONSTRAINT_VIOLATED, constrained(MAIL("c.test")), UTF8_MAIL),
    ],
    "a DNS subtree with a leading dot": [
        below(constrained(DNS(".b.test")), DNS("a.b.test")),
        refused_below(R.NAME_CONSTRAINT_VIOLATED, constrained(DNS(".b.test")), DNS("b.test")),
    ],
    "an empty e-mail or URI subtree": [
        refused_below(R.NAME_CONSTRAINT_VIOLATED, empty(subtrees, tag), one)
        for subtrees in (0xA0, 0xA1)
        for tag, one in ((0x81, MAIL("a@b.test")), (0x86, x509.UniformResourceIdentifier("http://b.test")))
    ],
    "a certificate of the pool that cannot be read": [
        Case(CA.leaf(), pool=[b"", CA]),
        refused(CA.leaf(), R.CERTIFICATE_MALFORMED, pool=[b"0"]),
        Case(CA.leaf(), pool=[odd(subject=raw_name(b"\xe9")), CA]),
    ],
}


def outcome(case: Case, policy: ValidationPolicy) -> Reason | None:
    """The reason with which a case is refused, None where it verifies."""
    leaf, anchor, *pool = (one if isinstance(one, bytes) else one.der for one in (case.leaf, case.anchor, *case.pool))
    try:
        verify_chain(leaf, pool=pool, anchors=[anchor], crls=case.crls, at=NOW, policy=policy)
    except Refused as refusal:
        return refusal.reason
    return None


@pytest.mark.parametrize("name", CASES)
def test_odd_case_is_decided_as_the_page_says(name: str) -> None:
    """By the library and by the service."""
    for case in CASES[name]:
        found = outcome(case, DEFAULT_POLICY), outcome(case, SERVICE_POLICY)
        assert found == (case.library, case.service), case


def test_every_row_of_the_page_is_tried() -> None:
    """And every case tried here has its row."""
    section = PAGE.read_text(encoding="utf-8").partition("## Odd cases, decided")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (?!case \|)([^|-][^|]*?) \|", section, re.MULTILINE) == list(CASES)


LATIN, OTHER_LETTER, AS_UTF8 = raw_name(b"Caf\xe9", 0x13), raw_name(b"Caf\xe8", 0x13), raw_name("Caf\u00e9".encode())
CA_OF_SUBTREE = bytes.fromhex("551d13"), True, bytes.fromhex("30030101ff")


def subtree(tag: int, base: bytes) -> tuple[bytes, bool, bytes]:
    """Name constraints of one directory name: permitted [0], or excluded [1]."""
    return bytes.fromhex("551d1e"), True, sequence(tlv(tag, sequence(tlv(0xA4, base))))


@pytest.mark.parametrize(
    ("issuer", "reason"), [(LATIN, None), (OTHER_LETTER, R.ISSUER_UNKNOWN), (AS_UTF8, R.ISSUER_UNKNOWN)]
)
def test_ca_with_letters_beyond_printable_string_issues_under_the_same_bytes_alone(
    issuer: bytes, reason: Reason | None
) -> None:
    """One key signed them all: only the name tells them apart."""
    root = handmade(KEY, issuer=LATIN, subject=LATIN, extensions=extensions_of(CA_OF_SUBTREE))
    assert outcome_of(handmade(KEY, issuer=issuer, subject=raw_name(b"a"), extensions=CLIENTS), root) is reason


@pytest.mark.parametrize("letters", [LATIN, raw_name("Caf\u00e9".encode(), 0x13), raw_name(b"\xb4\xf3", 0x13)])
@pytest.mark.parametrize(
    ("tag", "base", "reason"),
    [
        (0xA0, AS_UTF8, R.NAME_CONSTRAINT_VIOLATED),
        (0xA1, AS_UTF8, R.NAME_CONSTRAINT_VIOLATED),
        (0xA0, sequence(), None),
        (0xA0, LATIN, R.CERTIFICATE_MALFORMED),
        (0xA1, LATIN, R.CERTIFICATE_MALFORMED),
    ],
)
def test_letters_beyond_printable_string_are_in_no_permitted_subtree_and_in_every_excluded_one(
    letters: bytes, tag: int, base: bytes, reason: Reason | None
) -> None:
    """And a subtree with such letters of its own is not read."""
    above = extensions_of(CA_OF_SUBTREE, subtree(tag, base))
    root = handmade(KEY, issuer=raw_name(b"Root"), subject=raw_name(b"Root"), extensions=above)
    assert outcome_of(handmade(KEY, issuer=raw_name(b"Root"), subject=letters, extensions=CLIENTS), root) is reason


def outcome_of(leaf: bytes, root: bytes) -> Reason | None:
    """Why the library refuses, if it does; nothing is asked about revocation."""
    try:
        verify_chain(leaf, anchors=[root], at=NOW, check_revocation=False)
    except Refused as refusal:
        return refusal.reason
    return None
