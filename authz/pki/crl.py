"""A CRL as the validator uses it (RFC 5280 section 5): read once, strictly, its entries by a walk over the DER.

Nothing here is trusted yet: a CRL speaks only once its signature has verified under a key that may sign it.

What is odd, and decided: a CRL of version 1 counts if it has no extension anywhere, as section 5.1.2.1
demands; one without a number counts, ordered by its dates alone; of two entries for one certificate
the one that says "revoked" counts; an extension given twice refuses the CRL, and so does an entry that
names a certificate issuer where the CRL is not indirect.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from cryptography import x509

from authz.errors import Refused
from authz.pki import der
from authz.pki.algorithms import Signed
from authz.pki.crl_entries import EntryExtensions, ExtensionReader, entries
from authz.pki.crl_index import CrlIndex, IndirectIndex, SerialIndex
from authz.pki.distribution_point import ALL_REASONS, Names, comparable, directory_names, reasons_of
from authz.pki.extensions import PARSE_ERRORS
from authz.pki.names import Name
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

# The extensions of a CRL that have no say here, critical or not: the signature proves what an authority
# key identifier (5.2.1) hints at, an alternative name of the issuer (5.2.2) is one more name of his, and
# where deltas are found (5.2.6) concerns whoever fetches them.
_WITHOUT_A_SAY: Final = (x509.AuthorityKeyIdentifier, x509.IssuerAlternativeName, x509.FreshestCRL)

MAX_NUMBER_BITS: Final = 20 * 8
"""RFC 5280 section 5.2.3: a CRL number has at most 20 octets."""


class Crl:
    """One CRL. `sha256` (32 bytes) is its identity, `signed` what its issuer signed, `index` whom it lists.

    `scope` is what it speaks for besides its issuer: the DER of its issuing distribution point, empty
    for a CRL without one; `names` and `reasons` (bits) are of that point. `base_number` is set for a delta
    CRL. `unusable` says why it cannot prove that a certificate is good (a critical extension of its own
    or of an entry that is unknown), empty if it can.
    """

    def __init__(self, data: bytes) -> None:
        """Raises `Refused` (crl_malformed)."""
        self.der = data
        self.sha256 = hashlib.sha256(data).digest()
        self.number: int | None = None
        self.base_number: int | None = None
        self.idp: x509.IssuingDistributionPoint | None = None
        self.scope = b""
        self.names: Names = frozenset()
        self.reasons = ALL_REASONS
        self.unusable = ""
        try:
            self._read(data)
        except PARSE_ERRORS as error:
            raise Refused(Reason.CRL_MALFORMED, str(error)) from error

    def _read(self, data: bytes) -> None:
        self._parsed = parsed = x509.load_der_x509_crl(data)
        self.issuer = Name(parsed.issuer)
        self.this_update: datetime = parsed.last_update_utc
        self.next_update: datetime | None = parsed.next_update_utc
        self._v1, start, end = _layout(data)
        for extension in parsed.extensions:
            self._require_version_2()
            self._read_extension(extension)
        self.index: CrlIndex
        if self.indirect:
            self.index = IndirectIndex(self._indirect_entries(data, start, end))
        else:
            self.index = SerialIndex(self.issuer, self._direct_entries(data, start, end))

    def _require_version_2(self) -> None:
        if self._v1:
            raise ValueError("extensions in a CRL of version 1")

    def _read_extension(self, extension: x509.Extension[x509.ExtensionType]) -> None:
        value = extension.value
        if isinstance(value, x509.CRLNumber):
            self.number = _number(value.crl_number)
        elif isinstance(value, x509.DeltaCRLIndicator):
            self.base_number = _number(value.crl_number)
        elif isinstance(value, x509.IssuingDistributionPoint):
            self.idp, self.scope = value, value.public_bytes()
            self.names = comparable(value.full_name, value.relative_name, (self.issuer,))
            self.reasons = reasons_of(value.only_some_reasons)
        elif extension.critical and not isinstance(value, _WITHOUT_A_SAY):
            # 5.2: a CRL with a critical extension that cannot be processed must not be used.
            self.unusable = f"critical extension {extension.oid.dotted_string}"

    def _direct_entries(self, data: bytes, at: int, end: int) -> Iterator[tuple[int, int | None]]:
        """Serial numbers and reason codes of a CRL whose issuer speaks for its own certificates only."""
        reader = ExtensionReader(data)
        for _, serial, start, stop in entries(data, at, end):
            if start == stop:
                yield serial, None
                continue
            self._require_version_2()
            found = reader.read(start, stop)
            self._heed(found)
            if found.names_issuer:
                raise ValueError("an entry names a certificate issuer, but the CRL is not indirect")
            yield serial, found.reason

    def _indirect_entries(self, data: bytes, at: int, end: int) -> Iterator[tuple[Name, int, int | None]]:
        """5.3.3: an entry without a certificate issuer has the one of the entry before it, the first the CRL's own."""
        reader, issuer = ExtensionReader(data), self.issuer
        for (_, serial, start, stop), parsed in zip(entries(data, at, end), self._parsed, strict=True):
            found = reader.read(start, stop)
            self._heed(found)
            if found.names_issuer:
                issuer = _certificate_issuer(parsed)
            yield issuer, serial, found.reason

    def _heed(self, found: EntryExtensions) -> None:
        """5.3: with a critical entry extension that cannot be processed, a CRL proves nobody good."""
        if found.unknown:
            self.unusable = f"critical extension {found.unknown} of an entry"

    @property
    def signed(self) -> Signed:
        """The raw bytes that were signed, cut from the DER, and how. Raises `Refused` (algorithm_not_allowed)."""
        return Signed(self._parsed, der.signed_part(self.der)[0])

    @property
    def is_delta(self) -> bool:
        """Whether this is a delta CRL (RFC 5280 section 5.2.4)."""
        return self.base_number is not None

    @property
    def indirect(self) -> bool:
        """Whether it may list certificates of other issuers."""
        return self.idp is not None and self.idp.indirect_crl

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


def _layout(data: bytes) -> tuple[bool, int, int]:
    """Whether the CRL is of version 1, and where its entries begin and end (section 5.1)."""
    _, tbs_start, tbs_end = der.signed_part(data)
    # [version,] signature, issuer, thisUpdate, [nextUpdate,] [revokedCertificates,] [crlExtensions]
    fields = list(der.elements(data, tbs_start, tbs_end))
    v1 = fields[0][0] != der.INTEGER
    listed = [(start, end) for tag, start, end in fields[3 if v1 else 4 :] if tag == der.SEQUENCE]
    return v1, *(listed[0] if listed else (tbs_end, tbs_end))


def _number(value: int) -> int:
    """5.2.3: not negative, at most 20 octets."""
    if value < 0 or value.bit_length() > MAX_NUMBER_BITS:
        raise ValueError("a CRL number that is negative or too long")
    return value


def _certificate_issuer(entry: x509.RevokedCertificate) -> Name:
    value = entry.extensions.get_extension_for_class(x509.CertificateIssuer).value
    names = directory_names(value)
    if len(names) != 1:
        raise ValueError("a certificate issuer that is not one directory name")
    return names[0]
