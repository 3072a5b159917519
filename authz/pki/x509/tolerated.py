"""Encodings that cryptography's parser refuses though they have one reading: a closed table, and what it reads instead.

No parser: each function takes what the library refused, writes the encodings of the table as DER has them, and leaves
everything else as it is, to be refused again. The result is for the library alone. The signature is verified over
the bytes as they stand, they are the identity of a certificate or CRL, and the names are read from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import islice, pairwise
from operator import and_
from typing import Final, NamedTuple

from authz.pki.x509 import der


class Tolerated(NamedTuple):
    """An encoding with one reading: the clause that it misses, a peer that reads it, and an issuer that signs it."""

    encoding: str
    clause: str
    read_by: str
    signed_by: str


TOLERATED: Final = (
    Tolerated(
        "a default that is written out: `critical FALSE` in a certificate, CRL or entry, `cA FALSE`, FALSE in an "
        "issuing distribution point, `minimum 0` in a name constraint",
        "X.690 section 11.5, RFC 5280 section 4.2.1.10",
        "OpenSSL, nginx, Envoy (`minimum 0`: OpenSSL)",
        "endorsement keys of Intel's and AMD's TPMs, Gemalto (pyca/cryptography issues 12665, 10367); programs of "
        "Microsoft (openssl/openssl issue 7039)",
    ),
    Tolerated(
        "TRUE as 01",
        "X.690 section 11.1",
        "OpenSSL, nginx, Envoy",
        "Android KeyMint, Mbed TLS (Mbed-TLS/mbedtls issue 318)",
    ),
    Tolerated(
        "ECDSA with NULL parameters",
        "RFC 5758 section 3.2",
        "OpenSSL, nginx, Envoy",
        "Java 11, Mbed TLS",
    ),
    Tolerated(
        "rsaEncryption without NULL",
        "RFC 3279 section 2.3.1",
        "OpenSSL, nginx",
        "sshpk for node (TritonDataCenter/node-sshpk issue 39), phpseclib",
    ),
    Tolerated(
        "an RDN whose attributes are in another order",
        "X.690 section 11.6",
        "OpenSSL, nginx, Envoy",
        "endorsement keys of TPMs (pyca/cryptography issue 7189), Android StrongBox",
    ),
    Tolerated(
        "PrintableString with other printable ASCII (`&`, `@`, `_`, `*`, `!`)",
        "X.680 section 41.4",
        "OpenSSL, nginx, Envoy, Go (`&`, `*`)",
        "Windows MDM (pyca/cryptography issue 13461), DigiCert (mozilla/tls-observatory issue 271)",
    ),
    Tolerated(
        "PrintableString with bytes beyond ASCII, in an issuer or subject: equal to the same bytes alone; in "
        "no permitted subtree of its text, and in every excluded one that it may be in",
        "X.680 section 41.4",
        "OpenSSL, nginx, Envoy",
        "Chinese authorities, in GBK (golang/go issue 21339)",
    ),
    Tolerated(
        "an address of a name constraint with bits beyond its mask: only those under the mask count",
        "RFC 5280 section 4.2.1.10, RFC 4632",
        "OpenSSL, Go",
        "CAs made with OpenSSL, whose configuration takes any address (`permitted;IP:10.1.2.3/255.0.0.0`)",
    ),
    Tolerated(
        "TeletexString, read as UTF-8 where valid, else as latin-1; subtrees are compared under both: a permitted one "
        "must hold under each, an excluded one under either",
        "RFC 5280 section 4.1.2.4",
        "OpenSSL, nginx, Envoy",
        "European and Latin American authorities (kjur/jsrsasign issue 545)",
    ),
)
"""What has two readings is not here: lengths that are indefinite or not the shortest, doubled fields, trailing data."""

TELETEX_STRING: Final = 0x14
PRINTABLE_STRING: Final = 0x13
_PRINTABLE: Final = re.compile(rb"[A-Za-z0-9 '()+,\-./:=?]*\Z")
_ASCII: Final = re.compile(rb"[ -~]*\Z")
_ANY: Final = re.compile(rb"[ -~\x80-\xff]*\Z")

_FALSE: Final = bytes.fromhex("010100")
_ONE: Final = bytes.fromhex("010101")
_TRUE: Final = bytes.fromhex("0101ff")

# The algorithms of RFC 3279 section 2.2.3 and RFC 5758 section 3.2, and the same with NULL.
_ECDSA: Final = [
    bytes.fromhex(oid) for oid in ("06072a8648ce3d0401", *(f"06082a8648ce3d04030{n}" for n in range(1, 5)))
]
_WITHOUT_NULL: Final = {der.tlv(der.SEQUENCE, oid, b"\5\0"): der.tlv(der.SEQUENCE, oid) for oid in _ECDSA}

_VERSION: Final = 0xA0
_CRL_EXTENSIONS: Final = 0xA0
_OTHER_NAME: Final = 0xA0
_OID: Final = bytes([der.OID])
_SETS: Final = frozenset({der.SET, 0xA1})  # nameRelativeToCRLIssuer [1] is a SET OF (RFC 5280 section 4.2.1.13)
_BITS_OF_ISSUING_POINT: Final = frozenset({0x81, 0x82, 0x84, 0x85})  # its BOOLEANs (section 5.2.5)

MAX_DEPTH: Final = 12
"""Elements within one another in a name, or in a list of names that holds one: eight in the deepest of RFC 5280."""

MAX_IN_NAME: Final = 80
"""Elements in the name of an issuer or subject that is rewritten, each of which takes 1 us: sixteen RDNs have 65."""

MAX_IN_NAMES: Final = 160
"""Elements in an extension whose names are rewritten."""

MAX_PARTS: Final = 40
"""Extensions of a certificate that is rewritten, each of which takes 4 us: those in use have up to fifteen."""

MAX_BLOCKS: Final = 256
"""Blocks of entry extensions remembered while one CRL is read: most entries share theirs."""


def certificate(data: bytes) -> bytes:
    """A certificate (RFC 5280 section 4.1). Raises `ValueError` for what is not built like one."""
    tbs, *signed = _parts(data)
    fields = _parts(tbs)
    at = bool(fields) and fields[0][0] == _VERSION
    if len(fields) < at + 6 or len(signed) != 2:
        raise ValueError("a certificate with too few fields")
    # After the version: serialNumber, signature, issuer, validity, subject.
    fields[at + 1] = _algorithm(fields[at + 1])
    for number in (at + 2, at + 4):
        fields[number] = names(fields[number], MAX_IN_NAME, kinds=_OF_NAMES)
    if fields[-1][0] == der.EXTENSIONS:
        fields[-1] = _tagged_extensions(fields[-1])
    return der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, *fields), _algorithm(signed[0]), signed[1])


def crl(data: bytes) -> bytes:
    """A CRL (RFC 5280 section 5.1), in time linear in its bytes. Raises `ValueError` likewise."""
    tbs, *signed = _parts(data)
    fields = _parts(tbs)
    at = bool(fields) and fields[0][0] == der.INTEGER
    if len(fields) < at + 3 or len(signed) != 2:
        raise ValueError("a CRL with too few fields")
    fields[at : at + 2] = _algorithm(fields[at]), names(fields[at + 1], kinds=_OF_NAMES)
    for number, field in enumerate(fields[at + 3 :], at + 3):
        if field[0] == der.SEQUENCE:
            fields[number] = _entries(field)
        elif field[0] == _CRL_EXTENSIONS:
            fields[number] = _tagged_extensions(field)
    return der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, *fields), _algorithm(signed[0]), signed[1])


def names(data: bytes, most: int = MAX_IN_NAMES, *, kinds: Rewriters | None = None) -> bytes:
    """A name, or the value of an extension that is made of names: their strings and the order of their attributes.

    `kinds` are those of a name in an extension, if nothing else is said.
    Raises `ValueError` for more than `most` elements, for what is nested too deeply, or is no DER besides.
    """
    if der.count(data, 0, len(data), most) > most:
        raise ValueError("too much in names that would be rewritten")
    return b"".join(_names(data, 0, len(data), MAX_DEPTH, kinds or _OF_EXTENSIONS))


def value(data: bytes, kinds: Rewriters | None = None) -> bytes:
    """The value of an extension that is made of names; as it is, where there is too much in it."""
    try:
        return names(data, kinds=kinds)
    except ValueError:
        return data


def subtrees(data: bytes) -> bytes:
    """The value of name constraints (RFC 5280 section 4.2.1.10), likewise."""
    return value(data, _OF_SUBTREES)


def issuing_point(data: bytes) -> bytes:
    """The value of an issuing distribution point (RFC 5280 section 5.2.5). Raises `ValueError`."""
    parts = _parts(value(data))
    # A FALSE that is left out must not hide that its field stands there twice, or in another order.
    if any(one[0] & 0x1F >= other[0] & 0x1F for one, other in pairwise(parts)):
        raise ValueError("an issuing distribution point with a field twice, or out of order")
    return der.tlv(der.SEQUENCE, *map(_flag, parts))


def boolean(content: bytes) -> bool:
    """The content of a BOOLEAN, in DER or tolerated. Raises `ValueError`."""
    if content not in {b"\0", b"\1", b"\xff"}:
        raise ValueError("DER: a BOOLEAN that is neither TRUE nor FALSE")
    return content != b"\0"


def teletex(content: bytes) -> str:
    """The content of a TeletexString."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _parts(data: bytes, tag: int = der.SEQUENCE) -> list[bytes]:
    """The elements in the one of `tag` that `data` is, each with its tag and length. Raises `ValueError`."""
    at, end = der.only(data, tag)
    parts = []
    for _, _, stop in islice(der.elements(data, at, end), MAX_PARTS + 1):
        parts.append(data[at:stop])
        at = stop
    if len(parts) > MAX_PARTS:
        raise ValueError("too many parts that would be rewritten")
    return parts


def _algorithm(data: bytes) -> bytes:
    return _WITHOUT_NULL.get(data, data)


def _tagged_extensions(data: bytes) -> bytes:
    """Those of a certificate [3] or CRL [0]."""
    return der.tlv(data[0], _extensions(data[der.content(data, 0) :]))


def _extensions(data: bytes) -> bytes:
    """Extensions ::= SEQUENCE OF SEQUENCE { extnID, critical DEFAULT FALSE, extnValue }."""
    return der.tlv(der.SEQUENCE, *map(_extension, _parts(data)))


def _extension(data: bytes) -> bytes:
    parts = _parts(data)
    if len(parts) == 3:
        parts[1] = {_FALSE: b"", _ONE: _TRUE}.get(parts[1], parts[1])
    return der.tlv(der.SEQUENCE, *parts)


def _entries(data: bytes) -> bytes:
    """RevokedCertificates ::= SEQUENCE OF SEQUENCE { serial, date, extensions OPTIONAL } (RFC 5280 section 5.1)."""
    at, end = der.only(data, der.SEQUENCE)
    written, blocks = bytearray(), dict[bytes, bytes]()
    for _, start, stop in der.elements(data, at, end):
        before = der.element(data, der.element(data, start, stop)[2], stop)[2]
        block = data[before:stop]
        plain = blocks.get(block)
        if plain is None:
            plain = _extensions(block) if block else b""
            if len(blocks) < MAX_BLOCKS:
                blocks[block] = plain
        written += data[at:stop] if plain == block else der.tlv(der.SEQUENCE, data[start:before], plain)
        at = stop
    return der.tlv(der.SEQUENCE, bytes(written))


def _flag(part: bytes) -> bytes:
    if part[0] not in _BITS_OF_ISSUING_POINT or len(part) != 3:
        return part
    return part[:2] + b"\xff" if boolean(part[2:]) else b""


def _names(data: bytes, at: int, end: int, depth: int, kinds: Rewriters) -> list[bytes]:
    """The elements from `at` to `end`; an otherName, which may hold anything, stays as it is."""
    if not depth:
        raise ValueError("names that are nested too deeply")
    written = []
    while at < end:
        tag, start, stop = der.element(data, at, end)
        if tag & der.CONSTRUCTED and not (tag == _OTHER_NAME and data[start : start + 1] == _OID):
            inside = _names(data, start, stop, depth - 1, kinds)
            if tag in _SETS and len(inside) > 1:
                inside.sort()
            written.append(der.tlv(tag, *inside))
        else:
            rewrite = kinds.get(tag)
            written.append(data[at:stop] if rewrite is None else rewrite(data[start:stop]))
        at = stop
    return written


def _teletex(content: bytes) -> bytes:
    text = teletex(content).encode()
    # What is no UTF-8 has one reading; as a TeletexString it would have another one, of the bytes written here.
    return der.tlv(TELETEX_STRING if text == content else der.UTF8_STRING, text)


def _printable(content: bytes) -> bytes:
    tag = der.UTF8_STRING if not _PRINTABLE.match(content) and _ASCII.match(content) else PRINTABLE_STRING
    return der.tlv(tag, content)


def _opaque(content: bytes) -> bytes:
    """With bytes beyond ASCII too, for the library alone: an issuer or subject is compared by its bytes (`Name`)."""
    odd = not content.isascii() and _ANY.match(content)
    return der.tlv(der.UTF8_STRING, content.decode("latin-1").encode()) if odd else _printable(content)


def _range(content: bytes) -> bytes:
    """Of an address and its mask, of IPv4 or IPv6; the library refuses a mask that is no prefix."""
    if len(content) not in {8, 32}:
        return der.tlv(der.IP_ADDRESS, content)
    mask = content[len(content) // 2 :]
    return der.tlv(der.IP_ADDRESS, bytes(map(and_, content, mask)), mask)


Rewriters = Mapping[int, Callable[[bytes], bytes]]
"""By the tag of a primitive element: from its content to the element that the library reads."""

# In an extension the text that the library reads is what is compared.
_OF_EXTENSIONS: Final[Rewriters] = {TELETEX_STRING: _teletex, PRINTABLE_STRING: _printable}
_OF_NAMES: Final[Rewriters] = {**_OF_EXTENSIONS, PRINTABLE_STRING: _opaque}
_OF_SUBTREES: Final[Rewriters] = {**_OF_EXTENSIONS, der.IP_ADDRESS: _range}
