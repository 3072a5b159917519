"""Every tolerated encoding, as bytes: the same certificate or CRL in DER and in another spelling."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.certificates import new_key
from support.mutants import Node, forest
from support.raw_der import ECDSA_SHA256, handmade, raw_name, sequence, tlv
from support.tampered import Change

KEY: ec.EllipticCurvePrivateKey = new_key()  # type: ignore[assignment]
RSA_KEY = new_key("rsa2048")
_RSA = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
RSA = _RSA, sequence(bytes.fromhex("300b06092a864886f70d010101"), _RSA[_RSA.index(b"\x03\x82\x01\x0f") :])
WITHOUT_NULL = "rsaEncryption without NULL"
ECDSA_NULL = bytes.fromhex("300c06082a8648ce3d0403020500")
CA = raw_name(b"CA")
FALSE, ONE, TRUE = bytes.fromhex("010100"), bytes.fromhex("010101"), bytes.fromhex("0101ff")
NO_CA, IS_CA, CA_FALSE, CA_ONE = (bytes.fromhex(text) for text in ("3000", "30030101ff", "3003010100", "3003010101"))
BASIC, PURPOSES, REASON, SCOPE = (bytes.fromhex(text) for text in ("551d13", "551d25", "551d15", "551d1c"))
FOR_CLIENTS = bytes.fromhex("300a06082b06010505070302")

_NOTICE = sequence(tlv(6, bytes.fromhex("2b06010505070202")), sequence(tlv(0x0C, b"f\xfcr")))
UMLAUT = sequence(sequence(tlv(6, b"\x2a\3"), sequence(_NOTICE)))
"""Certificate policies with a user notice in latin-1."""


def extension(oid: bytes, value: bytes, critical: bytes = b"") -> bytes:
    """An extension, with what stands for `critical`."""
    return sequence(tlv(0x06, oid), critical, tlv(0x04, value))


def certificate(*extensions: bytes, subject: bytes = raw_name(b"alice"), **fields: bytes) -> bytes:
    """A certificate for clients, issued by "CA"."""
    listed = sequence(extension(PURPOSES, FOR_CLIENTS), *extensions)
    return handmade(KEY, issuer=fields.pop("issuer", CA), subject=subject, extensions=tlv(0xA3, listed), **fields)


def subtrees(distance: str = "") -> bytes:
    """The extension with name constraints: a permitted and an excluded subtree, each with a distance in hexadecimal."""
    one, two = (sequence(tlv(0x82, text), bytes.fromhex(distance)) for text in (b"a.test", b"b.a.test"))
    return extension(bytes.fromhex("551d1e"), sequence(tlv(0xA0, one), tlv(0xA1, two)), TRUE)


def addresses(ranges: str) -> bytes:
    """Likewise of two ranges of addresses, each an address and a mask in hexadecimal."""
    one, two = (sequence(tlv(0x87, bytes.fromhex(text))) for text in ranges.split())
    return extension(bytes.fromhex("551d1e"), sequence(tlv(0xA0, one), tlv(0xA1, two)), TRUE)


def of_attributes(*attributes: bytes) -> bytes:
    """A name of one RDN, its attributes in this order."""
    return sequence(tlv(0x31, *(raw_name(text)[4:] for text in attributes)))


def crl(
    *extensions: bytes, entry: bytes = b"", algorithm: bytes = ECDSA_SHA256, outer: bytes = b"", issuer: bytes = CA
) -> bytes:
    """A CRL of serial number 5, with `algorithm` inside, and outside if there is no `outer`."""
    dates = tlv(0x17, b"260101000000Z"), tlv(0x17, b"300101000000Z")
    entries = sequence(sequence(tlv(2, b"\5"), dates[0], entry))
    listed = tlv(0xA0, sequence(*extensions)) if extensions else b""
    tbs = sequence(tlv(2, b"\1"), algorithm, issuer, *dates, entries, listed)
    return sequence(tbs, outer or algorithm, tlv(3, b"\0", KEY.sign(tbs, ec.ECDSA(hashes.SHA256()))))


TELETEX = raw_name(b"Caf\xe9", 0x14)

CERTIFICATES = {
    "critical FALSE": (certificate(extension(BASIC, NO_CA)), certificate(extension(BASIC, NO_CA, FALSE))),
    "critical 01": (certificate(extension(BASIC, NO_CA, TRUE)), certificate(extension(BASIC, NO_CA, ONE))),
    "cA FALSE": (certificate(extension(BASIC, NO_CA)), certificate(extension(BASIC, CA_FALSE))),
    "cA 01": (certificate(extension(BASIC, IS_CA)), certificate(extension(BASIC, CA_ONE))),
    "minimum 0": (certificate(subtrees()), certificate(subtrees("800100"))),
    "addresses beyond a mask": (
        certificate(addresses(f"0a000000ff000000 {'20' * 2 + '00' * 14}{'ff' * 2 + '00' * 14}")),
        certificate(addresses(f"0a010203ff000000 {'20' * 2 + '01' * 14}{'ff' * 2 + '00' * 14}")),
    ),
    "ECDSA with NULL": (certificate(), certificate(inner=ECDSA_NULL, outer=ECDSA_NULL)),
    WITHOUT_NULL: (certificate(spki=RSA[0]), certificate(spki=RSA[1])),
    "an RDN in another order": (
        certificate(subject=of_attributes(b"a", b"bc")),
        certificate(subject=of_attributes(b"bc", b"a")),
    ),
    "PrintableString": (
        certificate(subject=raw_name(b"*&@_!.test")),
        certificate(subject=raw_name(b"*&@_!.test", 0x13)),
    ),
    "TeletexString": (certificate(subject=raw_name("Caf\u00e9".encode())), certificate(subject=TELETEX)),
    "TeletexString of the issuer": (certificate(issuer=raw_name("Caf\u00e9".encode())), certificate(issuer=TELETEX)),
}
"""By their names: in DER, and as tolerated."""

CRLS = {
    "critical FALSE": (crl(extension(b"\x2a\3", b"")), crl(extension(b"\x2a\3", b"", FALSE))),
    "critical 01": (crl(extension(b"\x2a\3", b"", TRUE)), crl(extension(b"\x2a\3", b"", ONE))),
    "critical FALSE of an entry": (
        crl(entry=sequence(extension(REASON, b"\x0a\1\1"))),
        crl(entry=sequence(extension(REASON, b"\x0a\1\1", FALSE))),
    ),
    "an empty list of entry extensions": (crl(), crl(entry=sequence())),
    "FALSE in an issuing distribution point": (
        crl(extension(SCOPE, bytes.fromhex("30038101ff"), TRUE)),
        crl(extension(SCOPE, bytes.fromhex("30068101ff820100"), TRUE)),
    ),
    "TRUE as 01 in an issuing distribution point": (
        crl(extension(SCOPE, bytes.fromhex("30038101ff"), TRUE)),
        crl(extension(SCOPE, bytes.fromhex("3003810101"), TRUE)),
    ),
    "ECDSA with NULL": (crl(), crl(algorithm=ECDSA_NULL)),
    "PrintableString": (crl(issuer=raw_name(b"a@b")), crl(issuer=raw_name(b"a@b", 0x13))),
    "TeletexString": (crl(issuer=raw_name("Caf\u00e9".encode())), crl(issuer=TELETEX)),
}
"""Likewise."""


def respelled(der: bytes, key: ec.EllipticCurvePrivateKey, change: Change) -> bytes:
    """A certificate with its signed part changed, and signed again by `key`, with ECDSA as the signed part says."""
    signed = forest(der)[0].children[0]
    change(signed)
    tbs = signed.encoded()
    # version, serialNumber, signature
    return sequence(tbs, signed.children[2].encoded(), tlv(3, b"\0", key.sign(tbs, ec.ECDSA(hashes.SHA256()))))


def _extensions(signed: Node) -> list[Node]:
    return signed.children[-1].children[0].children


def _subject(text: bytes, tag: int) -> Change:
    def change(signed: Node) -> None:
        signed.children[5] = forest(raw_name(text, tag))[0]

    return change


def _critical(content: bytes) -> Change:
    """Of the basic constraints."""

    def change(signed: Node) -> None:
        basic = next(one for one in _extensions(signed) if one.children[0].content == BASIC)
        basic.children[1:-1] = [Node(0x01, content)]

    return change


def _constraints(value: bytes) -> Change:
    def change(signed: Node) -> None:
        basic = next(one for one in _extensions(signed) if one.children[0].content == BASIC)
        basic.children[-1] = Node(0x04, value)

    return change


def _null(signed: Node) -> None:
    signed.children[2] = forest(ECDSA_NULL)[0]


def _unordered(signed: Node) -> None:
    signed.children[5] = forest(of_attributes(b"bc", b"a"))[0]


def _other(*extensions: bytes) -> Change:
    """Extensions besides."""

    def change(signed: Node) -> None:
        for one in extensions:
            signed.children[-1].children[0].children += forest(one)

    return change


def _without_null(signed: Node) -> None:
    signed.children[6] = forest(RSA[1])[0]


LEAVES: dict[str, Change] = {
    "critical FALSE": _critical(b"\0"),
    "critical 01": _critical(b"\1"),
    "cA FALSE": _constraints(CA_FALSE),
    "ECDSA with NULL": _null,
    "an RDN in another order": _unordered,
    WITHOUT_NULL: _without_null,
    "PrintableString": _subject(b"*&@_!.test", 0x13),
    "PrintableString beyond ASCII": _subject(b"Caf\xe9", 0x13),
    "TeletexString in latin-1": _subject(b"Caf\xe9", 0x14),
    "TeletexString in UTF-8": _subject("Caf\u00e9".encode(), 0x14),
    "TLS feature 4": _other(extension(bytes.fromhex("2b06010505070118"), bytes.fromhex("3003020104"))),
    "policy with an umlaut": _other(extension(bytes.fromhex("551d20"), UMLAUT)),
    "SCT list of two bytes": _other(extension(bytes.fromhex("2b06010401d679020402"), b"\4\0")),
}
"""Changes to a leaf of the demonstration."""
