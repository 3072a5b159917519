"""The fields and extensions of a CRL besides its entries (RFC 5280 sections 5.1 and 5.2), and the offsets of its parts.

A CRL without its entries is still well-formed, only its signature is void. In that form, a few hundred bytes,
it is sent to a process that uses another process's index of the entries.
"""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509

from authz.pki.crl.bounds import check_extensions, check_issuer, check_size, memory_of
from authz.pki.x509 import der
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import ALL_REASONS, Names, comparable, reasons_of, scope_of

if TYPE_CHECKING:
    from datetime import datetime

# Extensions of a CRL that decide nothing here, critical or not: the signature proves what an authority
# key identifier (5.2.1) hints at, an alternative name of the issuer (5.2.2) is just another name of it, and
# the distribution points of deltas (5.2.6) matter to the code that fetches them.
_IGNORED: Final = (x509.AuthorityKeyIdentifier, x509.IssuerAlternativeName, x509.FreshestCRL)

MAX_NUMBER_BITS: Final = 20 * 8
"""RFC 5280 section 5.2.3: a CRL number has at most 20 octets."""

MAX_FIELDS: Final = 7
"""Fields of a TBSCertList (section 5.1)."""

_EXTENSIONS: Final = 0xA0  # crlExtensions [0] (section 5.1)

HEADER_MEMORY: Final = 4 * 1024
"""Bytes that a CRL takes in a process besides its names and entries: measured 3,000."""


class CrlLayout(NamedTuple):
    """Offsets into the DER of a CRL.

    The signed part is from `tbs` to `tbs_end`, its content begins at `fields`. The element `revokedCertificates`
    begins at `revoked`, its entries are from `start` to `end`; without it all three are equal. `v1`: of version 1.
    `unused_bits` of the signature: zero, if it is valid.
    """

    v1: bool
    tbs: int
    fields: int
    revoked: int
    start: int
    end: int
    tbs_end: int
    unused_bits: int

    @classmethod
    def of(cls, data: bytes) -> CrlLayout:
        """The layout of a CRL in DER that no parser has accepted yet.

        Raises `ValueError`, also for a CRL that exceeds `authz.pki.crl.bounds`.
        """
        tbs, at, tbs_end = der.signed_part(data)
        _, _, algorithm_end = der.element(data, tbs_end, len(data))
        _, signature, signature_end = der.element(data, algorithm_end, len(data))  # signatureValue (section 5.1.1.3)
        # [version,] signature, issuer, thisUpdate, [nextUpdate,] [revokedCertificates,] [crlExtensions]
        fields = list(islice(der.elements(data, at, tbs_end), MAX_FIELDS + 1))
        v1 = not fields or fields[0][0] != der.INTEGER
        optional = 3 if v1 else 4
        if not optional <= len(fields) <= MAX_FIELDS or signature == signature_end:
            raise ValueError("a CRL with too few fields, or too many")
        revoked, start, end = _entries(fields, optional)
        check_size(data, end - start)
        check_issuer(*fields[optional - 2][1:])
        if fields[-1][0] == _EXTENSIONS:
            check_extensions(data, *fields[-1][1:])
        return cls(v1, tbs, at, revoked, start, end, tbs_end, data[signature])


def _entries(fields: list[der.Element], optional: int) -> tuple[int, int, int]:
    """Where `revokedCertificates` begins, and where its content begins and ends; without it, thrice the fields' end."""
    for (_, _, revoked), (tag, start, end) in pairwise(fields[optional - 1 :]):
        if tag == der.SEQUENCE:
            return revoked, start, end
    end = fields[-1][2]
    return end, end, end


def without_entries(data: bytes, layout: CrlLayout) -> bytes:
    """The CRL in DER as if it listed no certificate; its signature does not verify."""
    tbs = der.tlv(der.SEQUENCE, data[layout.fields : layout.revoked], data[layout.end : layout.tbs_end])
    _, end = der.only(data, der.SEQUENCE)
    return der.tlv(der.SEQUENCE, tbs, data[layout.tbs_end : end])


def written_issuer(start: bytes, size: int) -> bytes:
    """The DER of the issuer's name in a CRL of `size` bytes that begins with `start`; nothing else is read.

    Good only for finding candidate keys: no parser has accepted the CRL. Raises `ValueError`.
    """
    _, fields, end = der.element(start, der.element(start, 0, size)[1], size)
    tag, _, after = der.element(start, fields, end)
    if tag == der.INTEGER:  # version, absent in version 1
        after = der.element(start, after, end)[2]
    _, begin, stop = der.element(start, after, end)
    check_issuer(begin, stop)
    if stop > len(start):
        raise ValueError("the name of the CRL's issuer does not end where it should")
    return start[after:stop]


def issuer_of(start: bytes, size: int) -> Name:
    """The same name, as it is compared. Raises `ValueError`."""
    try:
        # The name's own lengths may point outside it.
        return Name.read(written_issuer(start, size))
    except IndexError:
        raise ValueError("the CRL's issuer is not where it should be") from None


class IssuingPointFlags(NamedTuple):
    """The flags of an issuing distribution point (section 5.2.5), without the parser's objects of its names."""

    only_contains_user_certs: bool
    only_contains_ca_certs: bool
    only_contains_attribute_certs: bool
    indirect_crl: bool

    @classmethod
    def of(cls, point: x509.IssuingDistributionPoint) -> IssuingPointFlags:
        """The flags of `point`."""
        return cls(*(getattr(point, flag) for flag in cls._fields))


class CrlHeader:
    """Issuer, dates, numbers and scope of one CRL.

    `scope` is that of its issuing distribution point (`scope_of`), empty without one; `names` and `reasons` (bits) are
    of that point. `base_number` is set for a delta CRL. `unusable` is what keeps the CRL from ever proving a
    certificate good ("no nextUpdate", an unknown critical extension), empty if it can.
    """

    def __init__(self, parsed: x509.CertificateRevocationList, *, v1: bool) -> None:
        """Raises what the parser raises, and `ValueError`."""
        self.issuer = Name(parsed.issuer)
        self.this_update: datetime = parsed.last_update_utc
        self.next_update: datetime | None = parsed.next_update_utc
        self.number: int | None = None
        self.base_number: int | None = None
        self.idp: IssuingPointFlags | None = None
        self.scope = b""
        self.names: Names = frozenset()
        self.reasons = ALL_REASONS
        self.unusable = self._unusable_dates()
        self.v1 = v1
        for extension in parsed.extensions:
            self.require_version_2()
            self._read_extension(extension)

    def _unusable_dates(self) -> str:
        if self.next_update is None:  # 5.1.2.5 requires it
            return "no nextUpdate"
        return "a nextUpdate before its thisUpdate" if self.next_update < self.this_update else ""

    def require_version_2(self) -> None:
        """5.1.2.1: extensions, of the CRL or of an entry, need version 2. Raises `ValueError`."""
        if self.v1:
            raise ValueError("extensions in a CRL of version 1")

    def _read_extension(self, extension: x509.Extension[x509.ExtensionType]) -> None:
        value = extension.value
        if isinstance(value, x509.CRLNumber):
            self.number = _number(value.crl_number)
        elif isinstance(value, x509.DeltaCRLIndicator):
            self.base_number = _number(value.crl_number)
        elif isinstance(value, x509.IssuingDistributionPoint):
            self.idp, self.scope = IssuingPointFlags.of(value), scope_of(value)
            self.names = comparable(value.full_name, value.relative_name, (self.issuer,))
            self.reasons = reasons_of(value.only_some_reasons)
        elif extension.critical and not isinstance(value, _IGNORED):
            # 5.2: a CRL with a critical extension that cannot be processed must not be used.
            self.unusable = f"critical extension {extension.oid.dotted_string}"

    @property
    def memory(self) -> int:
        """Bytes that it takes in each process that holds it."""
        return HEADER_MEMORY + len(self.scope) + memory_of(self.issuer) + sum(map(memory_of, self.names))

    @property
    def is_delta(self) -> bool:
        """Whether this is a delta CRL (RFC 5280 section 5.2.4)."""
        return self.base_number is not None

    @property
    def indirect(self) -> bool:
        """Whether it may list certificates of other issuers."""
        return self.idp is not None and self.idp.indirect_crl


def _number(value: int) -> int:
    """5.2.3: not negative, at most 20 octets."""
    if value < 0 or value.bit_length() > MAX_NUMBER_BITS:
        raise ValueError("a CRL number that is negative or too long")
    return value
