"""A CRL as the validator uses it (RFC 5280 section 5): read once, strictly, its entries by a walk over the DER.

Nothing here is trusted yet: a CRL speaks only once its signature has verified under a key that may sign it.

What is odd, and decided: a CRL of version 1 counts if it has no extension anywhere, as section 5.1.2.1
demands; one without a number counts, ordered by its dates alone; of two entries for one certificate
the one that says "revoked" counts; an extension given twice refuses the CRL, and so does an entry that
names a certificate issuer where the CRL is not indirect.
"""

from __future__ import annotations

import hashlib

from cryptography import x509

from authz.errors import Refused
from authz.pki.crl.header import CrlHead, Layout
from authz.pki.crl.index import CrlIndex, IndirectIndex, SerialIndex
from authz.pki.crl.listing import Listing
from authz.pki.x509.algorithms import AnySigned, Signed
from authz.pki.x509.der import integer
from authz.pki.x509.extensions import PARSE_ERRORS
from authz.reasons import Reason


class Crl(CrlHead):
    """One CRL. `sha256` (32 bytes) is its identity, `index` whom it lists, `shared` the bytes that processes share.

    `der` is None for one whose entries stay in a file and whose index another process made
    (`authz.pki.crl.image`). In `unusable` the entries have their say too: one with a critical extension
    that is unknown makes the CRL prove nobody good.
    """

    def __init__(self, data: bytes) -> None:
        """Raises `Refused` (crl_malformed)."""
        self.der: bytes | None = data
        self.sha256 = hashlib.sha256(data).digest()
        self.shared = self._kept = len(data)
        self.index: CrlIndex
        try:
            layout = Layout.of(data)
            parsed = x509.load_der_x509_crl(data)
            self._unused_bits = layout.unused_bits
            self._tbs = memoryview(data)[layout.tbs : layout.tbs_end]
            super().__init__(parsed, v1=layout.v1)
            self.index = self._read_entries(data, parsed, layout)
            # The first keeps every object it made of the extensions: 60 times their bytes.
            self._parsed = x509.load_der_x509_crl(data)
        except PARSE_ERRORS as error:
            raise Refused(Reason.CRL_MALFORMED, str(error)) from error

    def _read_entries(self, data: bytes, parsed: x509.CertificateRevocationList, layout: Layout) -> CrlIndex:
        listing = Listing(data, parsed, self, layout)
        found = ((issuer, integer(serial), reason) for issuer, serial, reason in listing)
        index = IndirectIndex(found) if self.indirect else SerialIndex(self.issuer, (one[1:] for one in found))
        self.unusable = listing.unusable
        return index

    @property
    def memory(self) -> int:
        """Bytes that it takes in each process that holds it, without what processes share."""
        return super().memory + self.index.memory + self._kept

    @property
    def signed(self) -> AnySigned:
        """What was signed, cut from the DER and not made anew, and how. Raises `Refused` (algorithm_not_allowed)."""
        return Signed(self._parsed, self._unused_bits, self._tbs)

    def supersedes(self, other: Crl) -> bool:
        """Whether this CRL is newer than `other` of the same issuer, key and scope.

        Neither its number nor its thisUpdate may be lower, and one is higher. Where the two disagree,
        neither CRL supersedes the other.
        """
        by_number = 0
        if self.number is not None and other.number is not None:
            by_number = (self.number > other.number) - (self.number < other.number)
        by_time = (self.this_update > other.this_update) - (self.this_update < other.this_update)
        return min(by_number, by_time) >= 0 and max(by_number, by_time) > 0

    def replaces(self, other: Crl) -> bool:
        """Whether `other`, of the same issuer, key and scope, is of no more use beside this CRL.

        A newer delta replaces an older one only if it starts no later: what was revoked between the two
        bases stands in the older one alone. A complete CRL replaces the deltas that end with it or before.
        """
        if self.base_number is not None:
            return other.base_number is not None and self.base_number <= other.base_number and self.supersedes(other)
        if not other.is_delta:
            return self.supersedes(other)
        if self.number is None or other.number is None:
            return False
        return other.number <= self.number and other.this_update <= self.this_update

    def __repr__(self) -> str:
        return f"Crl({self.sha256.hex()})"
