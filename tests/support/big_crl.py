"""Makes large CRLs byte by byte: no builder makes a million entries in a few seconds."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from support.certificates import Authority, tlv

if TYPE_CHECKING:
    from datetime import datetime

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
VERSION_2 = bytes.fromhex("020101")
REASON = bytes.fromhex("300c300a0603551d1504030a0101")
NUMBER = bytes.fromhex("0603551d14")


def serials(count: int) -> list[int]:
    """Different serial numbers of 16 bytes, the same ones every time."""
    chance = random.Random(count)
    return [1 << 126 | chance.getrandbits(102) << 24 | number for number in range(count)]


def big_crl(
    ca: Authority, listed: list[int], this_update: datetime, next_update: datetime, *, number: int = 5
) -> bytes:
    """A complete CRL of a CA with a P-256 key; every third entry has a reason code."""
    date = _time(this_update)
    shown = tlv(4, tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big")))
    shapes = [(bytes((0x30, 33 + len(end), 2, 16)), date + end) for end in (REASON, b"", b"")]
    entries = b"".join(
        begin + serial.to_bytes(16, "big") + end
        for (begin, end), serial in zip(itertools.cycle(shapes), listed, strict=False)
    )
    fields = (
        VERSION_2, ECDSA_SHA256, ca.certificate.subject.public_bytes(), date, _time(next_update),
        tlv(0x30, entries), tlv(0xA0, tlv(0x30, tlv(0x30, NUMBER + shown))),
    )  # fmt: skip
    tbs = tlv(0x30, b"".join(fields))
    signature = cast("ec.EllipticCurvePrivateKey", ca.key).sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs + ECDSA_SHA256 + tlv(3, b"\0" + signature))


def _time(moment: datetime) -> bytes:
    return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
