"""Which CRLs count, and which sources were refused, as octets that one process hands to another."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from authz.crls.acceptance import Held
from authz.crls.share.protocol import packed, unpacked
from authz.crls.source import Source
from authz.model import CrlSourceKind
from authz.pki.x509 import der
from authz.pki.x509.distinguished_name import Name

MAX_READ: Final = 1_024
"""Names of refused sources that are remembered as they were read: strangers chose them, and every list repeats them."""

_ORGANIZATION: Final = struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class Listed:
    """`signers` maps the SHA-256 of each CRL to the key that signed it, as in `CrlStore`.

    `refused` are sources of which no more is known than `modes_for` looks at.
    """

    signers: dict[bytes, bytes]
    refused: tuple[Source, ...]

    @classmethod
    def of(cls, held: Iterable[Held], refused: Iterable[Source]) -> Listed:
        """What is held now."""
        return cls({one.crl.sha256: one.signer for one in held}, tuple(refused))

    def to_bytes(self) -> bytes:
        """In a form of their own: two pieces for each CRL, and five for each refused source."""
        crls = [piece for pair in self.signers.items() for piece in pair]
        refused = []
        for one in self.refused:
            names = _written(one.issuer), _written(one.claimed)
            organizations = b"".join(map(_ORGANIZATION.pack, one.authorities))
            refused += [one.location.encode(), one.kind.encode(), *names, organizations]
        return b"".join(packed([b"".join(packed(crls)), b"".join(packed(refused))]))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Listed:
        """What `to_bytes` made. Raises `ValueError` for anything else."""
        crls, refused = map(unpacked, unpacked(data))
        signers = dict(zip(crls[::2], crls[1::2], strict=True))
        each = zip(*(refused[at::5] for at in range(5)), strict=True)
        return cls(signers, tuple(_source(*pieces) for pieces in each))


def _source(location: bytes, kind: bytes, issuer: bytes, claimed: bytes, organizations: bytes) -> Source:
    try:
        led_here: dict[int, dict[bytes, bytes]] = {one: {} for (one,) in _ORGANIZATION.iter_unpack(organizations)}
    except struct.error as error:
        raise ValueError("organizations that are cut short") from error
    which = CrlSourceKind(kind.decode())
    return Source(location.decode(), which, issuer=_read(issuer), claimed=_read(claimed), authorities=led_here)


def _written(name: Name | None) -> bytes:
    return b"" if name is None else der.tlv(der.SEQUENCE, *name.rdns)


@lru_cache(MAX_READ)
def _read(data: bytes) -> Name | None:
    return Name.read(data) if data else None
