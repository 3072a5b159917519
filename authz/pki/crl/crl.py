"""A CRL as the validator uses it (RFC 5280 section 5): read once, strictly, its entries in one pass over the DER.

Nothing here is trusted yet: a CRL counts only once its signature has verified under a key that may sign it.

How odd CRLs are read: version 1 is accepted without any extension, as section 5.1.2.1 demands; a CRL
without a number is accepted and ordered by its dates alone; of two entries for one certificate the one
that revokes it counts; a repeated extension refuses the CRL, and so does an entry that names a certificate
issuer in a CRL that is not indirect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Protocol

from authz.errors import Refused
from authz.pki.crl.entries import RevokedCertificates
from authz.pki.crl.header import CrlHeader, CrlLayout
from authz.pki.crl.index import CrlIndex, IndirectIndex, SerialIndex
from authz.pki.x509.algorithms import AnySigned, Signed
from authz.pki.x509.der import integer
from authz.pki.x509.library import load_crl
from authz.reasons import Reason

EXPIRED_WHEN_IT_CAME: Final = "a nextUpdate that had passed when it came"
"""`unusable` of a CRL that may not take the place of one that is current."""


MAX_EVIDENCE: Final = 16
"""CRLs of one issuer, key and scope that are held as evidence alone; of more, the oldest goes."""


class Ranked(Protocol):
    """What CRLs of one issuer, key and scope are ordered by."""

    @property
    def number(self) -> int | None:
        """The CRL number."""
        ...

    @property
    def this_update(self) -> datetime:
        """When it was issued."""
        ...


def is_newer(one: Ranked, other: Ranked) -> bool:
    """Whether `one` supersedes `other` of the same issuer, key and scope.

    Neither its number nor its thisUpdate may be lower, and one is higher. Where the two disagree,
    neither supersedes the other.
    """
    by_number = 0
    if one.number is not None and other.number is not None:
        by_number = (one.number > other.number) - (one.number < other.number)
    by_time = (one.this_update > other.this_update) - (one.this_update < other.this_update)
    return min(by_number, by_time) >= 0 and max(by_number, by_time) > 0


class Crl(CrlHeader):
    """One CRL: `sha256` (32 bytes) is its identity, `index` the certificates listed, `shared` its shared bytes.

    `der` is None for a CRL whose entries stay in a file and whose index another process made
    (`authz.pki.crl.image`). `unusable` covers the entries, too: with an unknown critical extension in one
    of them the CRL proves no certificate good. Such a CRL supersedes and replaces none.
    """

    def __init__(self, data: bytes) -> None:
        """Raises `Refused` (crl_malformed)."""
        self.der: bytes | None = data
        self.sha256 = hashlib.sha256(data).digest()
        self.shared = self._kept = len(data)
        self.index: CrlIndex
        try:
            layout = CrlLayout.of(data)
            parsed = load_crl(data)
            self._unused_bits = layout.unused_bits
            self._tbs = memoryview(data)[layout.tbs : layout.tbs_end]
            super().__init__(data, parsed, layout)
            self.index = self._read_entries(data, layout)
            self._parsed = parsed
        except ValueError as error:
            raise Refused(Reason.CRL_MALFORMED, str(error)) from error

    def _read_entries(self, data: bytes, layout: CrlLayout) -> CrlIndex:
        revoked = RevokedCertificates(data, self, layout)
        entries = ((issuer, integer(serial), reason) for issuer, serial, reason in revoked)
        index = IndirectIndex(entries) if self.indirect else SerialIndex(self.issuer, (entry[1:] for entry in entries))
        self.unusable = revoked.unusable
        return index

    @property
    def memory(self) -> int:
        """Bytes that it takes in each process that holds it, besides the shared ones."""
        return super().memory + self.index.memory + self._kept

    @property
    def signed(self) -> AnySigned:
        """The signature and the bytes signed, as they are in the DER. Raises `Refused` (algorithm_not_allowed)."""
        return Signed(self._parsed, self._unused_bits, self._tbs)

    def supersedes(self, other: Crl) -> bool:
        """Whether this CRL is usable, and newer than `other` of the same issuer, key and scope; see `is_newer`."""
        return not self.unusable and is_newer(self, other)

    def mark_expired(self, *, when_it_came: bool) -> None:
        """Whether the CRL had expired when it came, and is held as evidence alone; any other `unusable` stays."""
        if self.unusable in ("", EXPIRED_WHEN_IT_CAME):
            self.unusable = EXPIRED_WHEN_IT_CAME if when_it_came else ""

    def replaces(self, other: Crl) -> bool:
        """Whether this CRL makes `other`, of the same issuer, key and scope, redundant.

        A newer delta replaces an older one only if its base is no later: certificates revoked between the two
        bases are in the older one alone. A complete CRL replaces the deltas that end with it or before. One that is
        not usable is replaced by a complete one alone, which shows what the CA says now.
        """
        if other.unusable:
            return not self.is_delta and self.supersedes(other)
        if self.base_number is not None:
            return other.base_number is not None and self.base_number <= other.base_number and self.supersedes(other)
        if not other.is_delta:
            return self.supersedes(other)
        if self.unusable or self.number is None or other.number is None:
            return False
        return other.number <= self.number and other.this_update <= self.this_update

    def __repr__(self) -> str:
        return f"Crl({self.sha256.hex()})"


def puts_out(new: Crl, peers: Iterable[Crl], now: datetime) -> bool:
    """Whether `new` has expired and would replace a current one among `peers`, all of one issuer, key and scope."""
    return _has_expired(new, now) and any(new.replaces(peer) and not _has_expired(peer, now) for peer in peers)


def _has_expired(crl: Crl, now: datetime) -> bool:
    return crl.next_update is not None and crl.next_update < now
