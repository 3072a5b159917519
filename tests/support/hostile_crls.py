"""CRLs that a CA signed, and that no library would write: each field of head and entries as long as one likes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from support.big_crl import ECDSA_SHA256, VERSION_2
from support.certificates import NOW, Authority, tlv

NUMBER, POINT, FRESHEST = bytes.fromhex("551d14"), bytes.fromhex("551d1c"), bytes.fromhex("551d2e")
KEY_IDENTIFIER, ALTERNATIVE, ACCESS = (
    bytes.fromhex("551d23"),
    bytes.fromhex("551d12"),
    bytes.fromhex("2b06010505070101"),
)
PRIVATE, ISSUER, REASON = bytes.fromhex("2a0304"), bytes.fromhex("551d1d"), bytes.fromhex("551d15")
DELTA = bytes.fromhex("551d1b")
CRITICAL = bytes.fromhex("0101ff")
URL = tlv(0x86, b"http://a.test/1")
MARKS = "\u0344\u0316"
"""Four bytes of UTF-8 that combine with what stands before them."""


def moment(at: datetime) -> bytes:
    """UTCTime."""
    return tlv(0x17, at.strftime("%y%m%d%H%M%SZ").encode())


def extension(oid: bytes, value: bytes, *, critical: bool = False) -> bytes:
    """Extension."""
    return tlv(0x30, tlv(6, oid) + critical * CRITICAL + tlv(4, value))


def attribute(text: str) -> bytes:
    """RelativeDistinguishedName of one attribute, a description, which may be of any length."""
    return tlv(0x31, tlv(0x30, tlv(6, b"\x55\x04\x0d") + tlv(12, text.encode())))


def directory_name(*rdns: bytes) -> bytes:
    """GeneralName."""
    return tlv(0xA4, tlv(0x30, b"".join(rdns)))


def point(*names: bytes, indirect: bool = False) -> bytes:
    """IssuingDistributionPoint as an extension."""
    full = tlv(0xA0, tlv(0xA0, b"".join(names))) if names else b""
    return extension(POINT, tlv(0x30, full + tlv(0x84, b"\xff") * indirect), critical=True)


def entry(serial: int, *extensions: bytes) -> bytes:
    """An entry of `revokedCertificates`."""
    more = tlv(0x30, b"".join(extensions)) if extensions else b""
    return tlv(
        0x30, tlv(2, serial.to_bytes(serial.bit_length() // 8 + 1, "big")) + moment(NOW - timedelta(days=1)) + more
    )


def certificate_issuer(*names: bytes) -> bytes:
    """An entry's extension."""
    return extension(ISSUER, tlv(0x30, b"".join(names)), critical=True)


def signed(
    ca: Authority,
    *extensions: bytes,
    listed: bytes = b"",
    issuer: bytes | None = None,
    begin: datetime = NOW - timedelta(days=1),
    algorithm: bytes = ECDSA_SHA256,
) -> bytes:
    """The CRL of a CA with a P-256 key, for a week; `issuer` is the DER of its name, if another."""
    fields = [
        VERSION_2, algorithm, issuer or ca.certificate.subject.public_bytes(), moment(begin),
        moment(begin + timedelta(days=7)), tlv(0x30, listed) if listed else b"",
        tlv(0xA0, tlv(0x30, b"".join(extensions))) if extensions else b"",
    ]  # fmt: skip
    tbs = tlv(0x30, b"".join(fields))
    signature = cast("ec.EllipticCurvePrivateKey", ca.key).sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs + algorithm + tlv(3, b"\0" + signature))


def _oid(number: int) -> bytes:
    return b"\x2a" + bytes((0x80 | number >> 14 & 0x7F, 0x80 | number >> 7 & 0x7F, number & 0x7F)).lstrip(b"\x80")


def _attributes(size: int) -> list[bytes]:
    return [attribute("x")] * (size // 14)


HEADS: Final[dict[str, Callable[[int], tuple[bytes, ...]]]] = {
    "combining marks in a point": lambda size: (point(directory_name(attribute(MARKS * (size // 4)))),),
    "ligatures in a point": lambda size: (point(directory_name(attribute("\ufdfa" * (size // 3)))),),
    "names of a point": lambda size: (point(*[URL] * (size // len(URL))),),
    "empty names of a point": lambda size: (point(*[b"\x82\x00"] * (size // 2)),),
    "directory names of a point": lambda size: (point(*[directory_name(attribute("x"))] * (size // 18)),),
    "one long name of a point": lambda size: (point(directory_name(*_attributes(size))),),
    "a long URL of a point": lambda size: (point(tlv(0x86, b"http://a.test/" + b"x" * size)),),
    "other names of a point": lambda size: (
        point(*[tlv(0xA0, tlv(6, PRIVATE) + tlv(0xA0, tlv(12, b"x")))] * (size // 14)),
    ),
    "a relative name": lambda size: (
        extension(
            POINT,
            tlv(0x30, tlv(0xA0, tlv(0xA1, tlv(0x30, tlv(6, b"\x2a") + tlv(12, b"x")) * (size // 9)))),
            critical=True,
        ),
    ),
    "freshest points": lambda size: (
        extension(FRESHEST, tlv(0x30, tlv(0x30, tlv(0xA0, tlv(0xA0, URL))) * (size // (len(URL) + 6)))),
    ),
    "issuers of freshest points": lambda size: (
        extension(FRESHEST, tlv(0x30, tlv(0x30, tlv(0xA2, directory_name(attribute("x")) * (size // 18))))),
    ),
    "names of the authority's key": lambda size: (
        extension(KEY_IDENTIFIER, tlv(0x30, tlv(0xA1, b"\x82\x01x" * (size // 3)) + tlv(0x82, b"\x05"))),
    ),
    "serial number of the authority's key": lambda size: (
        extension(KEY_IDENTIFIER, tlv(0x30, tlv(0xA1, URL) + tlv(0x82, b"\x05" * size))),
    ),
    "alternative names": lambda size: (extension(ALTERNATIVE, tlv(0x30, URL * (size // len(URL)))),),
    "information access": lambda size: (
        extension(ACCESS, tlv(0x30, tlv(0x30, tlv(6, b"\x2a") + URL) * (size // (len(URL) + 5)))),
    ),
    "a number": lambda size: (extension(NUMBER, tlv(2, b"\x05" * size)),),
    "an unknown extension": lambda size: (extension(PRIVATE, b"x" * size),),
    "a critical unknown extension": lambda size: (extension(PRIVATE, b"x" * size, critical=True),),
    "unknown extensions": lambda size: tuple(extension(_oid(number), b"") for number in range(1, size // 10)),
    "one extension again and again": lambda size: (extension(PRIVATE, b""),) * (size // 9),
}
"""Extensions of a CRL by what is long about them, each of about so many bytes."""


def now() -> datetime:
    """A moment an hour ago, by the real clock."""
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
