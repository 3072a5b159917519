"""Certificates put together byte by byte, for what no builder would sign."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from authz.pki.x509 import der

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
CN = bytes.fromhex("0603550403")


def tlv(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE."""
    return tlv(0x30, *parts)


def raw_name(text: bytes, tag: int = 0x0C) -> bytes:
    """A distinguished name of one common name, in a string type of one's choice."""
    return sequence(tlv(0x31, sequence(CN, tlv(tag, text))))


def spki_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The SubjectPublicKeyInfo of a key."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def handmade(
    key: ec.EllipticCurvePrivateKey,
    *,
    issuer: bytes,
    subject: bytes,
    spki: bytes | None = None,
    serial: bytes = b"\x01",
    version: bytes = bytes.fromhex("a003020102"),
    extensions: bytes = b"",
    inner: bytes = ECDSA_SHA256,
    outer: bytes = ECDSA_SHA256,
) -> bytes:
    """A certificate signed by `key` over exactly these parts; valid from 2020 to 2049."""
    validity = sequence(tlv(0x17, b"200101000000Z"), tlv(0x17, b"491231235959Z"))
    tbs = sequence(version, tlv(0x02, serial), inner, issuer, validity, subject, spki or spki_of(key), extensions)
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return sequence(tbs, outer, tlv(0x03, b"\0", signature))


def extensions_of(*extensions: tuple[bytes, bool, bytes]) -> bytes:
    """The extensions field: (content of the OID, critical, value) each."""
    listed = [
        sequence(tlv(0x06, oid), tlv(0x01, b"\xff") if critical else b"", tlv(0x04, value))
        for oid, critical, value in extensions
    ]
    return tlv(0xA3, sequence(*listed))


def with_unused_bit(signed: Iterable[bytes]) -> bytes:
    """The first certificate or CRL whose signature ends in a zero bit, which is now called unused."""
    found = next(one for one in signed if one[-1] % 2 == 0)
    _, _, tbs_end = der.signed_part(found)
    count = der.content(found, der.after(found, tbs_end))
    return found[:count] + b"\1" + found[count + 1 :]


def crl_with_sha1(data: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A CRL that `key` signed with ECDSA and SHA-256, signed with SHA-1 instead (RFC 3279 section 2.2.3)."""
    sha1 = sequence(bytes.fromhex("06072a8648ce3d0401"))
    _, start, end = der.signed_part(data)
    tbs = sequence(data[start:end].replace(ECDSA_SHA256, sha1, 1))
    return sequence(tbs, sha1, tlv(0x03, b"\0", key.sign(tbs, ec.ECDSA(hashes.SHA1()))))  # noqa: S303 - on purpose
