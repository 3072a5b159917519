"""A CRL as one process prepares it for others: its header, and an index instead of its entries.

A disposable process makes the image from DER whose signature verified. Its users need not trust that process
about keys: the image holds the digest that was signed, so the signature is verified again under the key of
each path. Only for Edwards curves, which sign no separate digest, the image names the keys that verified.

The image: magic (8 bytes), length of the header (8), the header, the index (`authz.pki.crl.hashed_index`).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from cryptography.hazmat.primitives.serialization import load_der_public_key

from authz.errors import Refused
from authz.pki.crl import hashed_index
from authz.pki.crl.bounds import MAX_HEADER
from authz.pki.crl.crl import Crl
from authz.pki.crl.entries import RevokedCertificates
from authz.pki.crl.hashed_index import HashedIndex
from authz.pki.crl.header import CrlHeader, CrlLayout, without_entries
from authz.pki.x509 import der
from authz.pki.x509.algorithms import AnySigned, Signed, SignedDigest, read_key, restricted, verify_signature
from authz.pki.x509.library import call, load_crl
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes as PublicKey

MAGIC: Final = b"AUTHZCR1"

MAX_IMAGE_HEADER: Final = 2 * MAX_HEADER
"""Bytes of an image's header: that of the CRL, a few digests, and one for each key that verified the signature."""

_START: Final = struct.Struct("=8sQ")
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """A CRL without its entries, in a few hundred bytes.

    `sha256` is that of the whole CRL, `emptied_crl` its DER without the entries, `digest` the `Signed.digest`
    of the signed bytes, `keys` the SHA-256 of each SubjectPublicKeyInfo under which the signature verified,
    `unusable` as in `Crl`, `index` the digest of the index that belongs to it.
    """

    sha256: bytes
    emptied_crl: bytes
    digest: bytes
    keys: frozenset[bytes]
    unusable: str
    index: bytes

    def to_bytes(self) -> bytes:
        """SEQUENCE of six OCTET STRINGs, in DER: the fields, in their order."""
        fields = (
            self.sha256,
            self.emptied_crl,
            self.digest,
            b"".join(sorted(self.keys)),
            self.unusable.encode(),
            self.index,
        )
        return der.tlv(der.SEQUENCE, *(der.tlv(der.OCTET_STRING, field) for field in fields))

    @classmethod
    def from_bytes(cls, data: bytes) -> ImageHeader:
        """The header that `to_bytes` encoded. Raises `ValueError` for anything else."""
        elements = list(der.elements(data, *der.only(data, der.SEQUENCE)))
        if [tag for tag, _, _ in elements] != [der.OCTET_STRING] * 6:
            raise ValueError("a CRL's header that is not six strings")
        sha256, emptied_crl, digest, keys, unusable, index = (data[start:end] for _, start, end in elements)
        if len(sha256) != _DIGEST_BYTES or len(index) != _DIGEST_BYTES or len(keys) % _DIGEST_BYTES:
            raise ValueError("a CRL's header with a digest of another length")
        key_digests = frozenset(keys[at : at + _DIGEST_BYTES] for at in range(0, len(keys), _DIGEST_BYTES))
        return cls(sha256, emptied_crl, digest, key_digests, unusable.decode(), index)


class HashedCrl(Crl):
    """A CRL of an image. Raises `ValueError` for a header that belongs to another index, or to no CRL."""

    def __init__(self, header: ImageHeader, index: HashedIndex) -> None:
        if header.index != index.digest:
            raise ValueError("an index of another CRL")
        self.der = None
        self.sha256 = header.sha256
        self.index = index
        self.shared = len(index.buffer)
        self._kept = len(header.emptied_crl)
        self._header = header
        try:
            layout = CrlLayout.of(header.emptied_crl)
            self._unused_bits = layout.unused_bits
            self._parsed = load_crl(header.emptied_crl)
            CrlHeader.__init__(self, header.emptied_crl, self._parsed, layout)
        except ValueError as error:
            raise ValueError(f"the header of an image without a CRL: {error}") from error
        self.unusable = header.unusable or self.unusable

    @property
    def signed(self) -> AnySigned:
        """The signature and the digest of the bytes signed. Raises `Refused` (algorithm_not_allowed)."""
        return SignedDigest(self._parsed, self._unused_bits, self._header.digest, self._header.keys)


def make_image(data: bytes, candidates: Iterable[bytes], key: bytes) -> list[bytes]:
    """The pieces of the image of the CRL `data`, in DER.

    `candidates` are SubjectPublicKeyInfos in DER, one of which must verify its signature before its entries are
    read. `key` is 32 random bytes, never used before. Raises `Refused` (crl_malformed, signature_invalid,
    algorithm_not_allowed).
    """
    try:
        layout = CrlLayout.of(data)
        parsed = load_crl(data)
        header = CrlHeader(data, parsed, layout)
        unused = layout.unused_bits
        signed = Signed(parsed, unused, memoryview(data)[layout.tbs : layout.tbs_end])
        digest = signed.digest()
        keys = verified_under(SignedDigest(parsed, unused, digest, ()) if digest else signed, candidates)
        revoked = RevokedCertificates(data, header, layout)
        index = hashed_index.build(revoked, key, delta=header.is_delta)
    except ValueError as error:
        raise Refused(Reason.CRL_MALFORMED, str(error)) from error
    sha256 = hashlib.sha256(data).digest()
    emptied = without_entries(data, layout)
    encoded = ImageHeader(sha256, emptied, digest, keys, revoked.unusable, hashed_index.digest_of(index)).to_bytes()
    return [_START.pack(MAGIC, len(encoded)), encoded, *index]


def open_image(buffer: bytes | memoryview) -> HashedCrl:
    """The CRL of an immutable image. Raises `ValueError` if the buffer is not a valid image."""
    view = memoryview(buffer).toreadonly().cast("B")
    if len(view) < _START.size:
        raise ValueError("an image that is cut short")
    magic, length = _START.unpack_from(view)
    end = _START.size + length
    if magic != MAGIC or end > len(view) or length > MAX_IMAGE_HEADER:
        raise ValueError("no image, or one of another version")
    return HashedCrl(ImageHeader.from_bytes(bytes(view[_START.size : end])), HashedIndex(view[end:]))


def verified_under(signed: AnySigned, candidates: Iterable[bytes]) -> frozenset[bytes]:
    """SHA-256 of each SubjectPublicKeyInfo under which a CRL's signature verifies.

    Raises `Refused` (signature_invalid) if it verifies under none of them.
    """
    verified = frozenset(hashlib.sha256(spki_der).digest() for spki_der in candidates if _verifies(signed, spki_der))
    if not verified:
        raise Refused(Reason.SIGNATURE_INVALID, f"none of the keys given signed the CRL ({signed.oid})")
    return verified


def _verifies(signed: AnySigned, spki_der: bytes) -> bool:
    """A key outside the tables, or that cannot be read, verifies no signature."""
    try:
        key = call(load_der_public_key, spki_der)
        read_key(spki_der)
        verify_signature(restricted(cast("PublicKey", key), spki_der), signed)  # of the kinds that `read_key` knows
    except (Refused, ValueError):
        return False
    return True
