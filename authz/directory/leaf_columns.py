"""What look-ups and reports read of a registered certificate, in columns of its row: no report parses every one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from authz import pki
from authz.errors import Refused

if TYPE_CHECKING:
    from authz.pki import Certificate

READ: Final = ("not_before", "not_after", "tbs_sha256", "spki_sha256", "issuer", "serial", "authority_key_id")
"""The columns that are read from the DER of a leaf."""


def leaf_columns(leaf: Certificate, chain: bytes) -> dict[str, Any]:
    """The columns of a registration that a leaf and its chain (DER, one certificate behind the other) determine."""
    return {"sha256": leaf.sha256, "der": leaf.der, "chain": chain, **read_columns(leaf.der, chain)}


def read_columns(der: bytes, chain: bytes) -> dict[str, Any]:
    """Those that have to be read: all None of a leaf that cannot be, which no check accepts."""
    try:
        read = read_values(pki.Certificate.parse(der))
    except Refused:
        read = (None,) * len(READ)
    return {**dict(zip(READ, read, strict=True)), "chain_sha256": hashlib.sha256(chain).digest() if chain else None}


def serial_bytes(serial: int) -> bytes:
    """A serial number as its column has it: the content of its INTEGER (X.690 section 8.3)."""
    return serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True)


def serial_number(content: bytes) -> int:
    """What `serial_bytes` was given."""
    return int.from_bytes(content, "big", signed=True)


def read_values(leaf: Certificate) -> tuple[Any, ...]:
    """The values of the columns `READ`. Raises `Refused`."""
    return (
        leaf.not_before,
        leaf.not_after,
        leaf.tbs_sha256,
        leaf.spki_sha256,
        leaf.issuer_der,
        serial_bytes(leaf.serial),
        leaf.extensions.authority_key_id,
    )
