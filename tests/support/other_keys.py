"""The other key under which a signature verifies: with ECDSA anybody computes it, and its private half is unknown."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

Point = tuple[int, int] | None


def other_key(signature: bytes, signed: bytes, key: ec.EllipticCurvePublicKey) -> ec.EllipticCurvePublicKey:
    """Another P-256 key than the one that signed (ECDSA with SHA-256): SEC 1 section 4.1.6."""
    r, s = decode_dss_signature(signature)
    digest = int.from_bytes(hashlib.sha256(signed).digest(), "big")
    y = pow(r**3 - 3 * r + B, (P + 1) // 4, P)
    for point in ((r, y), (r, P - y)):
        made = _sum(_times(s * pow(r, -1, N) % N, point), _times(-digest * pow(r, -1, N) % N, G))
        assert made is not None
        public = ec.EllipticCurvePublicNumbers(*made, ec.SECP256R1()).public_key()
        if public != key:
            return public
    raise AssertionError("both are the same key")


def _sum(first: Point, other: Point) -> Point:
    if first is None or other is None:
        return first or other
    (x, y), (x2, y2) = first, other
    if x == x2 and (y + y2) % P == 0:
        return None
    slope = (3 * x * x - 3) * pow(2 * y, -1, P) if first == other else (y2 - y) * pow(x2 - x, -1, P)
    x3 = (slope * slope - x - x2) % P
    return x3, (slope * (x - x3) - y) % P


def _times(factor: int, point: Point) -> Point:
    product: Point = None
    while factor:
        if factor & 1:
            product = _sum(product, point)
        point, factor = _sum(point, point), factor >> 1
    return product
