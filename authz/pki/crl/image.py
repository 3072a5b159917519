"""A CRL as one process makes it and others use it: its head, and an index instead of its entries.

Made from DER whose signature verified, in a process that can be thrown away. Whoever uses it need not
believe what that process says about keys: the image holds the digest that was signed, so that the signature
is verified again under the key of each path. Only for the Edwards curves, whose digest cannot be handed on,
the image names the keys under which the signature verified.

The image: magic (8 octets), how many octets the header has (8), the header, the index (`authz.pki.crl.hashed_index`).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from authz.errors import Refused
from authz.pki.crl import hashed_index
from authz.pki.crl.bounds import MAX_HEAD
from authz.pki.crl.crl import Crl
from authz.pki.crl.hashed_index import HashedIndex
from authz.pki.crl.header import CrlHead, Layout, without_entries
from authz.pki.crl.listing import Listing
from authz.pki.x509 import der
from authz.pki.x509.algorithms import AnySigned, Signed, SignedDigest, read_key, verify_signature
from authz.pki.x509.extensions import PARSE_ERRORS
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes as PublicKey

MAGIC: Final = b"AUTHZCR1"

MAX_HEADER: Final = 2 * MAX_HEAD
"""Bytes of a header: the CRL's own, a few digests, and one for each key that signed it."""

_START: Final = struct.Struct("=8sQ")
_DIGEST_OCTETS: Final = 32


@dataclass(frozen=True, slots=True)
class CrlHeader:
    """Everything about a CRL but its entries, in a few hundred octets.

    `sha256` is the whole CRL's, `head` its DER without the entries, `digest` what `Signed.digest` made of
    what was signed, `keys` the SHA-256 of each SubjectPublicKeyInfo under which the signature verified,
    `unusable` as in `Crl`, `index` the digest of the index that belongs to it.
    """

    sha256: bytes
    head: bytes
    digest: bytes
    keys: frozenset[bytes]
    unusable: str
    index: bytes

    def to_bytes(self) -> bytes:
        """SEQUENCE of six OCTET STRINGs, in DER: the fields, in their order."""
        fields = self.sha256, self.head, self.digest, b"".join(sorted(self.keys)), self.unusable.encode(), self.index
        return der.tlv(der.SEQUENCE, *(der.tlv(der.OCTET_STRING, one) for one in fields))

    @classmethod
    def from_bytes(cls, data: bytes) -> CrlHeader:
        """What `to_bytes` made. Raises `ValueError` for anything else."""
        found = list(der.elements(data, *der.only(data, der.SEQUENCE)))
        if [tag for tag, _, _ in found] != [der.OCTET_STRING] * 6:
            raise ValueError("a CRL's header that is not six strings")
        sha256, head, digest, keys, unusable, index = (data[start:end] for _, start, end in found)
        if len(sha256) != _DIGEST_OCTETS or len(index) != _DIGEST_OCTETS or len(keys) % _DIGEST_OCTETS:
            raise ValueError("a CRL's header with a digest of another length")
        each = frozenset(keys[at : at + _DIGEST_OCTETS] for at in range(0, len(keys), _DIGEST_OCTETS))
        return cls(sha256, head, digest, each, unusable.decode(), index)


class HashedCrl(Crl):
    """A CRL of an image. Raises `ValueError` for a header that is of another index, or of no CRL."""

    def __init__(self, header: CrlHeader, index: HashedIndex) -> None:
        if header.index != index.digest:
            raise ValueError("an index of another CRL")
        self.der = None
        self.sha256 = header.sha256
        self.index = index
        self.shared = len(index.buffer)
        self._kept = len(header.head)
        self._header = header
        try:
            layout = Layout.of(header.head)
            self._unused_bits = layout.unused_bits
            CrlHead.__init__(self, x509.load_der_x509_crl(header.head), v1=layout.v1)
            # As in `Crl`: the first keeps what it made of the extensions.
            self._parsed = x509.load_der_x509_crl(header.head)
        except PARSE_ERRORS as error:
            raise ValueError(f"a CRL's header without a head: {error}") from error
        self.unusable = header.unusable

    @property
    def signed(self) -> AnySigned:
        """The digest of what was signed, and how. Raises `Refused` (algorithm_not_allowed)."""
        return SignedDigest(self._parsed, self._unused_bits, self._header.digest, self._header.keys)

    @property
    def verified_keys(self) -> frozenset[bytes]:
        """SHA-256 of each SubjectPublicKeyInfo under which the process that made the image verified the signature."""
        return self._header.keys


def make_image(data: bytes, candidates: Iterable[bytes], key: bytes) -> list[bytes]:
    """The pieces of the image of the CRL that `data` is, in DER.

    `candidates` are SubjectPublicKeyInfos in DER, one of which must have signed it; nothing is made of its
    entries before. `key` is 32 octets of chance, never used before. Raises `Refused` (crl_malformed,
    signature_invalid, algorithm_not_allowed).
    """
    try:
        layout = Layout.of(data)
        parsed = x509.load_der_x509_crl(data)
        head = CrlHead(parsed, v1=layout.v1)
        unused = layout.unused_bits
        signed = Signed(parsed, unused, memoryview(data)[layout.tbs : layout.tbs_end])
        digest = signed.digest()
        keys = verified_under(SignedDigest(parsed, unused, digest, ()) if digest else signed, candidates)
        listing = Listing(data, parsed, head, layout)
        index = hashed_index.build(listing, key, delta=head.is_delta)
    except PARSE_ERRORS as error:
        raise Refused(Reason.CRL_MALFORMED, str(error)) from error
    sha256 = hashlib.sha256(data).digest()
    smaller = without_entries(data, layout)
    header = CrlHeader(sha256, smaller, digest, keys, listing.unusable, hashed_index.digest_of(index)).to_bytes()
    return [_START.pack(MAGIC, len(header)), header, *index]


def open_image(buffer: bytes | memoryview) -> HashedCrl:
    """The CRL of an image that does not change any more. Raises `ValueError` for anything that is none."""
    view = memoryview(buffer).toreadonly().cast("B")
    if len(view) < _START.size:
        raise ValueError("an image that is cut short")
    magic, octets = _START.unpack_from(view)
    end = _START.size + octets
    if magic != MAGIC or end > len(view) or octets > MAX_HEADER:
        raise ValueError("no image, or one of another version")
    return HashedCrl(CrlHeader.from_bytes(bytes(view[_START.size : end])), HashedIndex(view[end:]))


def verified_under(signed: AnySigned, candidates: Iterable[bytes]) -> frozenset[bytes]:
    """SHA-256 of those SubjectPublicKeyInfos under which a CRL's signature verifies.

    Raises `Refused` (signature_invalid) when there is none.
    """
    found = frozenset(hashlib.sha256(spki_der).digest() for spki_der in candidates if _verifies(signed, spki_der))
    if not found:
        raise Refused(Reason.SIGNATURE_INVALID, f"none of the keys given signed the CRL ({signed.oid})")
    return found


def _verifies(signed: AnySigned, spki_der: bytes) -> bool:
    """A key that policy does not accept, or that cannot be read, verifies nothing."""
    try:
        key = load_der_public_key(spki_der)
        read_key(spki_der)
        verify_signature(cast("PublicKey", key), signed)  # of the kinds that `read_key` knows
    except (Refused, *PARSE_ERRORS):
        return False
    return True
