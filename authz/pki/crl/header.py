"""The fields and extensions of a CRL besides its entries (RFC 5280 sections 5.1 and 5.2), and the offsets of its parts.

A CRL without its entries is still well-formed, only its signature is void. In that form, a few hundred bytes,
it is sent to a process that uses another process's index of the entries.
"""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509

from authz.pki.crl.bounds import ISSUING_POINT, check_extensions, check_issuer, check_size, memory_of
from authz.pki.x509 import der, library, tolerated
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import ALL_REASONS, Names, comparable, reasons_of, scope_of

if TYPE_CHECKING:
    from datetime import datetime

# Extensions of a CRL, by the content of their OIDs.
_NUMBER: Final = bytes.fromhex("551d14")
_DELTA_INDICATOR: Final = bytes.fromhex("551d1b")

# Those that decide nothing here, critical or not, and stay unread: the signature proves what an authority key
# identifier (5.2.1) hints at, an alternative name of the issuer (5.2.2) is just another name of it, and the
# distribution points of deltas (5.2.6) matter to the code that fetches them.
_IGNORED: Final = frozenset(map(bytes.fromhex, ("551d23", "551d12", "551d2e")))

_NO_SCOPE: Final = bytes.fromhex("3000")
"""An issuing distribution point that restricts nothing, once its FALSEs are left out."""

MAX_NUMBER: Final = 128
"""Bytes of a CRL number, six times what RFC 5280 section 5.2.3 allows: Python writes no more than 4,300 digits."""

MAX_FIELDS: Final = 7
"""Fields of a TBSCertList (section 5.1)."""

_EXTENSIONS: Final = 0xA0  # crlExtensions [0] (section 5.1)

HEADER_MEMORY: Final = 4 * 1024
"""Bytes that a CRL takes in a process besides its names and entries: measured 3,000."""


class CrlLayout(NamedTuple):
    """Offsets into the DER of a CRL.

    The signed part is from `tbs` to `tbs_end`, its content begins at `fields`. The element `revokedCertificates`
    begins at `revoked`, its entries are from `start` to `end`; without it all three are equal. `v1`: of version 1.
    The DER of its issuer's name is at `issuer`, the content of crlExtensions, empty without any, at `extensions`.
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
    issuer: slice
    extensions: slice

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
        extensions = slice(0)
        if fields[-1][0] == _EXTENSIONS:
            check_extensions(data, *fields[-1][1:])
            extensions = slice(*fields[-1][1:])
        # The algorithm of the signature follows the version, and the issuer the algorithm.
        issuer = slice(fields[optional - 3][2], fields[optional - 2][2])
        # 5.1.1.2: the library compares the two only as they are rewritten (`authz.pki.x509.tolerated`).
        if data[at if v1 else fields[0][2] : issuer.start] != data[tbs_end:algorithm_end]:
            raise ValueError("the signature algorithms inside and outside differ")
        return cls(v1, tbs, at, revoked, start, end, tbs_end, data[signature], issuer, extensions)


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
    certificate good ("no nextUpdate", an unknown critical extension), empty if it can. `signed_by` is the SHA-256 of
    the key under which this process verified the signature last.
    """

    signed_by = b""

    def __init__(self, data: bytes, parsed: x509.CertificateRevocationList, layout: CrlLayout) -> None:
        """The header of the CRL `data`, which the parser accepted. Raises `ValueError`."""
        self.issuer = Name.read(data[layout.issuer])
        self.this_update, self.next_update = library.call(_dates, parsed)
        self.number: int | None = None
        self.base_number: int | None = None
        self.idp: IssuingPointFlags | None = None
        self.scope = b""
        self.names: Names = frozenset()
        self.reasons = ALL_REASONS
        self.unusable = self._unusable_dates()
        self.v1 = layout.v1
        seen = set()
        field = data[layout.extensions]
        for oid, critical, start, end in der.extension_list(field, 0):
            self.require_version_2()
            if oid in seen:
                raise ValueError(f"the extension {der.oid(oid)} appears twice")
            seen.add(oid)
            self._read_extension(oid, field[start:end], critical=critical)

    def _unusable_dates(self) -> str:
        if self.next_update is None:  # 5.1.2.5 requires it
            return "no nextUpdate"
        return "a nextUpdate before its thisUpdate" if self.next_update < self.this_update else ""

    def require_version_2(self) -> None:
        """5.1.2.1: extensions, of the CRL or of an entry, need version 2. Raises `ValueError`."""
        if self.v1:
            raise ValueError("extensions in a CRL of version 1")

    def _read_extension(self, oid: bytes, value: bytes, *, critical: bool) -> None:
        if oid == _NUMBER:
            self.number = _number(value)
        elif oid == _DELTA_INDICATOR:
            self.base_number = _number(value)
        elif oid == ISSUING_POINT:
            self._read_scope(tolerated.issuing_point(value))
        elif critical and oid not in _IGNORED:
            # 5.2: a CRL with a critical extension that cannot be processed must not be used.
            self.unusable = f"critical extension {der.oid(oid)}"

    def _read_scope(self, scope: bytes) -> None:
        if scope == _NO_SCOPE:
            return
        value = library.read_crl_extension(ISSUING_POINT, scope)
        assert isinstance(value, x509.IssuingDistributionPoint)  # noqa: S101 - of this OID
        self.idp, self.scope = IssuingPointFlags.of(value), scope_of(value)
        self.names = comparable(value.full_name, value.relative_name, (self.issuer,))
        self.reasons = reasons_of(value.only_some_reasons)

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


def _dates(parsed: x509.CertificateRevocationList) -> tuple[datetime, datetime | None]:
    return parsed.last_update_utc, parsed.next_update_utc


def _number(value: bytes) -> int:
    """5.2.3: not negative; one of more than 20 bytes is read, as it orders CRLs all the same."""
    start, end = der.only(value, der.INTEGER)
    number = der.integer(value[start:end])
    if number < 0 or end - start > MAX_NUMBER:
        raise ValueError("a CRL number that is negative or too long")
    return number
