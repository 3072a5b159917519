"""Certificates that are full of one kind of name, extension or field, for bounds and benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from authz.errors import Refused
from authz.pki import Certificate
from support.certificates import Authority, new_key
from support.raw_der import CN, extensions_of, handmade, raw_name, sequence, tlv

KEY = new_key()
BASIC = (bytes.fromhex("551d13"), True, bytes.fromhex("30030101ff"))
CLIENT = (bytes.fromhex("551d25"), False, bytes.fromhex("300a06082b06010505070302"))
MARKS = "\u0344\u0316"
LIGATURE = "\ufdfa"
LIGATURES = (LIGATURE * 3 + "\u0390\u0958").encode()


class Kind(NamedTuple):
    """What fills a certificate: an extension by its OID (hex), else the part of `handmade` that is named."""

    name: str
    where: str
    filled: Callable[[int], bytes]

    def certificate(self, size: int, issuer: bytes = raw_name(b"R"), subject: bytes = raw_name(b"x")) -> bytes:
        """A certificate of which so many bytes are of this kind."""
        parts: dict[str, bytes] = {"issuer": issuer, "subject": subject}
        if self.where in {"subject", "serial", "spki", "extensions"}:
            parts[self.where] = self.filled(size)
        else:
            stated = [one for one in (BASIC, CLIENT) if one[0].hex() != self.where]
            parts["extensions"] = extensions_of((bytes.fromhex(self.where), False, self.filled(size)), *stated)
        if self.where == "subject":
            parts["extensions"] = extensions_of(BASIC, CLIENT)
        return handmade(KEY, **parts)  # type: ignore[arg-type]


def listed(*items: bytes, wrap: Callable[[bytes], bytes] = sequence) -> Callable[[int], bytes]:
    """These, one after the other and again, to so many bytes."""
    each = b"".join(items)
    return lambda size: wrap(each * (size // len(each)))


def numbered(item: Callable[[bytes], bytes]) -> Callable[[int], bytes]:
    """As many items as fit, of a number of three bytes each, which differ."""

    def filled(size: int) -> bytes:
        arcs = (
            b"\x2a" + bytes((0x81 + one // 128 % 126, one % 128)) for one in range(size // len(item(b"\x2a\x81\1")))
        )
        return sequence(*map(item, arcs))

    return filled


def text(unit: str, tag: int = 0x0C, encoding: str = "utf-8") -> Callable[[int], bytes]:
    """A name of one common name, which is that text again and again."""

    def filled(size: int) -> bytes:
        held = (unit * (1 + size // len(unit.encode(encoding)))).encode(encoding)[:size]
        return raw_name(held.decode(encoding, "ignore").encode(encoding), tag)

    return filled


def oid(content: bytes) -> bytes:
    """An OBJECT IDENTIFIER."""
    return tlv(0x06, content)


def in_subject_alternative(name: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """That name, as the only alternative name."""
    return lambda size: sequence(tlv(0xA4, name(size)))


SAN, SUBTREES, POINTS, FRESHEST, POLICIES = "551d11", "551d1e", "551d1f", "551d2e", "551d20"
URI, ANY_NAME = tlv(0x86, b"a"), tlv(0xA4, raw_name(b"a"))
NOTICE = bytes.fromhex("06082b06010505070202")
CPS = bytes.fromhex("06082b06010505070201")
ATTRIBUTE = sequence(CN, tlv(0x0C, b"a"))
RDN = tlv(0x31, ATTRIBUTE)
REASONS = b"\x81\2\1\x7e"
RSA = bytes.fromhex("300d06092a864886f70d0101010500")


def rsa_key(size: int) -> bytes:
    """A key of a modulus of so many bytes."""
    return sequence(RSA, tlv(3, b"\0", sequence(tlv(2, b"\1" * max(size, 1)), b"\2\1\3")))


def subtrees(held: bytes) -> bytes:
    """Name constraints that permit these."""
    return sequence(tlv(0xA0, held))


def point(held: bytes) -> bytes:
    """A list of one distribution point with these names."""
    return sequence(sequence(tlv(0xA0, tlv(0xA0, held))))


def qualified(held: bytes) -> bytes:
    """A list of one policy with these qualifiers."""
    return sequence(sequence(oid(b"\x2a"), sequence(held)))


def noticed(held: bytes) -> bytes:
    """A list of one policy with a notice of these numbers."""
    return qualified(sequence(NOTICE, sequence(sequence(tlv(0x0C, b"a"), sequence(held)))))


EXTENSIONS = numbered(lambda arc: sequence(oid(arc), tlv(0x04, b"")))

UNCRITICAL = numbered(lambda arc: sequence(oid(arc), bytes.fromhex("010100"), tlv(0x04, b"")))

KINDS = (
    Kind("unknown extension", "2a03", lambda size: b"x" * size),
    Kind("unknown extensions", "extensions", lambda size: tlv(0xA3, EXTENSIONS(size))),
    Kind("serial number", "serial", lambda size: b"\1" * max(size, 1)),
    Kind("public key", "spki", rsa_key),
    Kind("RDNs", "subject", listed(RDN)),
    Kind("RDN of many", "subject", listed(ATTRIBUTE, wrap=lambda held: sequence(tlv(0x31, held)))),
    Kind("RDNs of letters beyond PrintableString", "subject", listed(tlv(0x31, sequence(CN, tlv(0x13, b"@"))))),
    Kind("RDNs in another order", "subject", listed(tlv(0x31, sequence(CN, tlv(0x0C, b"b")), ATTRIBUTE))),
    Kind("RDNs of TeletexString", "subject", listed(tlv(0x31, sequence(CN, tlv(0x14, b"\xe9"))))),
    Kind("extensions of critical FALSE", "extensions", lambda size: tlv(0xA3, UNCRITICAL(size))),
    Kind("attribute that is no text", "subject", lambda size: raw_name(b"\0" * size, 0x03)),
    Kind("plain text", "subject", text("aB ")),
    Kind("umlauts", "subject", text("\u00c4")),
    Kind("umlauts in 16 bits", "subject", text("\u00c4", 0x1E, "utf-16-be")),
    Kind("astral letters in 32 bits", "subject", text("\U0001d400", 0x1C, "utf-32-be")),
    Kind("combining marks", "subject", text(MARKS)),
    Kind("28 combining marks and what is deleted", "subject", text(MARKS * 14 + "\u034f")),
    Kind("starters that become marks", "subject", text("\u0f81\u0f71")),
    Kind("30 combining marks behind each letter", "subject", text("a" + "\u0316\u0301" * 15)),
    Kind("syllables, decomposed", "subject", text("\u1112\u1161\u11ab")),
    Kind("ligature of 18 letters", "subject", text(LIGATURE)),
    Kind("ligatures within bounds", "subject", listed(tlv(0x31, sequence(CN, tlv(0x0C, LIGATURES))))),
    Kind("white space and NUL", "subject", text(" \0\t")),
    Kind("DNS names", SAN, listed(tlv(0x82, b"a"))),
    Kind("DNS name", SAN, lambda size: sequence(tlv(0x82, b"a." * (size // 2)))),
    Kind("DNS name of one label", SAN, lambda size: sequence(tlv(0x82, b"a" * size))),
    Kind("empty DNS names", SAN, listed(tlv(0x82, b""))),
    Kind("e-mail addresses", SAN, listed(tlv(0x81, b"a@b"))),
    Kind("URIs", SAN, listed(tlv(0x86, b"a://b"))),
    Kind("URI", SAN, lambda size: sequence(tlv(0x86, b"a://" + b"a" * size + b"@"))),
    Kind("IPv4 addresses", SAN, listed(tlv(0x87, b"\1\2\3\4"))),
    Kind("IPv6 addresses", SAN, listed(tlv(0x87, b"\1\2\3\4" * 4))),
    Kind("registered identifiers", SAN, listed(tlv(0x88, b"\x2a"))),
    Kind("long registered identifiers", SAN, listed(tlv(0x88, b"\x2a" + b"\xff\x7f" * 30))),
    Kind("other names", SAN, listed(tlv(0xA0, oid(b"\x2a"), tlv(0xA0, b"\5\0")))),
    Kind("other name, nested", SAN, lambda size: sequence(tlv(0xA0, oid(b"\x2a"), tlv(0xA0, nested(size))))),
    Kind("X.400 addresses", SAN, listed(tlv(0xA3, b"\x30\0"))),
    Kind("directory names", SAN, listed(ANY_NAME)),
    Kind("empty directory names", SAN, listed(tlv(0xA4, b"\x30\0"))),
    Kind("directory name of many RDNs", SAN, in_subject_alternative(listed(RDN))),
    Kind("directory name of marks", SAN, in_subject_alternative(text(MARKS))),
    Kind("directory name of ligatures", SAN, in_subject_alternative(text(LIGATURE))),
    Kind("issuer alternative names", "551d12", listed(tlv(0x82, b"a"))),
    Kind("permitted DNS subtrees", SUBTREES, listed(sequence(tlv(0x82, b"a")), wrap=subtrees)),
    Kind("directory subtrees", SUBTREES, listed(sequence(ANY_NAME), wrap=lambda held: sequence(tlv(0xA1, held)))),
    Kind("subtree of ligatures", SUBTREES, lambda size: subtrees(sequence(tlv(0xA4, text(LIGATURE)(size))))),
    Kind("address subtrees", SUBTREES, listed(sequence(tlv(0x87, b"\1\2\3\4\xff\xff\xff\xff")), wrap=subtrees)),
    Kind("distribution points", POINTS, listed(sequence(tlv(0xA0, tlv(0xA0, URI))))),
    Kind("distribution points with reasons", POINTS, listed(sequence(tlv(0xA0, tlv(0xA0, URI)), REASONS))),
    Kind("names of a distribution point", POINTS, listed(URI, wrap=point)),
    Kind("directory names of a distribution point", POINTS, listed(ANY_NAME, wrap=point)),
    Kind("issuers of a distribution point", POINTS,
         listed(ANY_NAME, wrap=lambda held: sequence(sequence(tlv(0xA2, held))))),
    Kind("relative name of a distribution point", POINTS,
         listed(ATTRIBUTE, wrap=lambda held: sequence(sequence(tlv(0xA0, tlv(0xA1, held)))))),
    Kind("points of fresher CRLs", FRESHEST, listed(sequence(tlv(0xA0, tlv(0xA0, URI)), REASONS))),
    Kind("policies", POLICIES, numbered(lambda arc: sequence(oid(arc)))),
    Kind("policy qualifiers", POLICIES, listed(sequence(CPS, tlv(0x16, b"a")), wrap=qualified)),
    Kind("notices beyond ASCII", POLICIES,
         listed(sequence(NOTICE, sequence(tlv(0x0C, "\u00e4".encode()))), wrap=qualified)),
    Kind("notice numbers", POLICIES, listed(b"\2\1\1", wrap=noticed)),
    Kind("notice number", POLICIES, lambda size: noticed(tlv(2, b"\1" * size))),
    Kind("policy mappings", "551d21", numbered(lambda arc: sequence(oid(arc), oid(b"\x2a")))),
    Kind("policy mappings of long identifiers", "551d21",
         numbered(lambda arc: sequence(oid(arc), oid(b"\x2a" + b"\xff" * 59 + arc[1:])))),
    Kind("policy constraint", "551d24", lambda size: sequence(tlv(0x80, b"\1" * size))),
    Kind("path length", "551d13", lambda size: sequence(b"\1\1\xff", tlv(2, b"\1" * size))),
    Kind("inhibited policy", "551d36", lambda size: tlv(2, b"\1" * size)),
    Kind("key usage", "551d0f", lambda size: tlv(3, b"\0", b"\xff" * size)),
    Kind("purposes", "551d25", numbered(oid)),
    Kind("key identifier", "551d0e", lambda size: tlv(4, b"x" * size)),
    Kind("names of the authority's issuer", "551d23",
         listed(tlv(0x82, b"a"), wrap=lambda held: sequence(tlv(0xA1, held), b"\x82\1\1"))),
    Kind("serial number of the authority", "551d23",
         lambda size: sequence(tlv(0xA1, ANY_NAME), tlv(0x82, b"\1" * size))),
    Kind("access descriptions", "2b06010505070101", listed(sequence(oid(b"\x2a"), tlv(0x82, b"")))),
    Kind("access descriptions of directory names", "2b0601050507010b",
         listed(sequence(oid(b"\x2a"), tlv(0xA4, b"\x30\0")))),
    Kind("TLS features", "2b06010505070118", listed(b"\2\1\5")),
    Kind("signed timestamps", "2b06010401d679020402",
         lambda size: tlv(4, len(stamps(size)).to_bytes(2, "big"), stamps(size))),
    Kind("admissions", "2b24080303", listed(sequence(sequence(sequence(sequence(tlv(0x0C, b"a"))))))),
)  # fmt: skip


def nested(size: int) -> bytes:
    """Sequences in one another."""
    held = b""
    while len(held) < size:
        held = sequence(held)
    return held


def stamps(size: int) -> bytes:
    """Signed certificate timestamps, as short as the library reads them (RFC 6962 section 3.2)."""
    return (b"\0\x2f" + b"\0" * 43 + b"\4\3\0\0") * (min(size, 65_000) // 49)


def hostile_leaf(kind: Kind, size: int) -> bytes:
    """A leaf without an issuer."""
    return kind.certificate(size)


def hostile_bag(kind: Kind, size: int, anchor: Authority) -> tuple[bytes, list[bytes]]:
    """A leaf and ten CAs above it, each of that kind, with good signatures but for the last, which names the anchor."""
    names = [raw_name(b"%d" % number) for number in range(10)]
    if kind.where == "subject":
        names = [_distinguished(kind.filled(size), number) for number in range(10)]
    issuers = [*names[1:], anchor.certificate.subject.public_bytes()]
    pool = [_with_subject(kind, size, issuer, name) for issuer, name in zip(issuers, names, strict=True)]
    return kind.certificate(size, issuer=names[0]), pool


def _with_subject(kind: Kind, size: int, issuer: bytes, subject: bytes) -> bytes:
    if kind.where == "subject":
        return handmade(KEY, issuer=issuer, subject=subject, extensions=extensions_of(BASIC, CLIENT))  # type: ignore[arg-type]
    return kind.certificate(size, issuer, subject)


def _distinguished(name: bytes, number: int) -> bytes:
    """The same name with one more RDN in front."""
    start = 2 if name[1] < 0x80 else 2 + (name[1] & 0x7F)
    return sequence(tlv(0x31, sequence(CN, tlv(0x0C, b"%d" % number))), name[start:])


FIELDS = ("subject", "issuer", "key", "serial", "not_before", "not_after", "signature_algorithm", "weight")
STATED = ("constrained_names", "permitted", "excluded", "crl_points", "san_names")


def parse_and_read(der: bytes) -> None:
    """The same with parsing."""
    with suppress(Refused):
        read(Certificate.parse(der))


def read(one: Certificate) -> None:
    """Read all that a certificate says, and write its names, as far as they can be read."""
    for name in FIELDS:
        with suppress(Refused):
            getattr(getattr(one, name), "text", None)
    with suppress(Refused):
        one.extensions  # noqa: B018 - what cannot be read is tried once
        for name in STATED:
            getattr(one, name)
