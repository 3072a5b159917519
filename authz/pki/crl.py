"""A CRL as the validator uses it (RFC 5280 section 5): read once, strictly, its entries by a walk over the DER.

Nothing here is trusted yet: a CRL speaks only once its signature has verified under a key that may sign it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509

from authz.errors import Refused
from authz.pki import der
from authz.pki.algorithms import Signed
from authz.pki.crl_index import REMOVE_FROM_CRL, CrlIndex, IndirectIndex, SerialIndex
from authz.pki.extensions import PARSE_ERRORS
from authz.pki.names import Name
from authz.reasons import Reason

if TYPE_CHECKING:
    from datetime import datetime

K = TypeVar("K")

ALL_REASONS: Final = frozenset(x509.ReasonFlags) - {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}
"""The reasons a distribution point can be limited to (RFC 5280 section 4.2.1.13, ReasonFlags)."""

_REASON_CODE: Final = bytes.fromhex("551d15")
_KNOWN_ENTRY_EXTENSIONS: Final = frozenset(
    {
        _REASON_CODE,  # 5.3.1
        bytes.fromhex("551d18"),  # invalidityDate, 5.3.2
        bytes.fromhex("551d17"),  # holdInstructionCode, RFC 3280 section 5.3.2
    }
)
_CERTIFICATE_ISSUER: Final = bytes.fromhex("551d1d")  # 5.3.3

# The extensions of a CRL that are processed here (section 5.2).
_KNOWN: Final = frozenset({"2.5.29.35", "2.5.29.18", "2.5.29.20", "2.5.29.27", "2.5.29.28", "2.5.29.46"})


class Crl:
    """One CRL. `sha256` (32 bytes) is its identity; `signed` is what its issuer signed, the raw bytes.

    `scope` is what it speaks for besides its issuer: the DER of its issuing distribution point, empty
    for a CRL without one. `base_number` is set for a delta CRL. `unusable` says why it cannot prove
    that a certificate is good (an unknown critical extension), empty if it can.
    """

    def __init__(self, data: bytes) -> None:
        """Raises `Refused` (crl_malformed)."""
        self.number: int | None = None
        self.base_number: int | None = None
        self.authority_key_id: bytes | None = None
        self.idp: x509.IssuingDistributionPoint | None = None
        self.der = data
        self.sha256 = hashlib.sha256(data).digest()
        try:
            self._read(data)
        except PARSE_ERRORS as error:
            raise Refused(Reason.CRL_MALFORMED, str(error)) from error

    def _read(self, data: bytes) -> None:
        parsed = x509.load_der_x509_crl(data)
        self.issuer = Name(parsed.issuer)
        self.this_update: datetime = parsed.last_update_utc
        self.next_update: datetime | None = parsed.next_update_utc
        self.scope = b""
        self.freshest: tuple[x509.DistributionPoint, ...] = ()
        self.unusable = ""
        for extension in parsed.extensions:
            self._read_extension(extension)
        tbs, tbs_start, tbs_end = der.signed_part(data)
        _check_algorithms(data, tbs_start, tbs_end)
        self.signed = Signed(parsed, tbs)
        if self.idp is not None and self.idp.indirect_crl:
            self.index: CrlIndex = self._indirect(parsed)
        else:
            self.index = SerialIndex(self.issuer, self._entries(data, tbs_start, tbs_end))

    def _read_extension(self, extension: x509.Extension[x509.ExtensionType]) -> None:
        value = extension.value
        if isinstance(value, x509.CRLNumber):
            self.number = value.crl_number
        elif isinstance(value, x509.DeltaCRLIndicator):
            self.base_number = value.crl_number
        elif isinstance(value, x509.AuthorityKeyIdentifier):
            self.authority_key_id = value.key_identifier
        elif isinstance(value, x509.IssuingDistributionPoint):
            self.idp, self.scope = value, value.public_bytes()
        elif isinstance(value, x509.FreshestCRL):
            self.freshest = tuple(value)
        elif extension.critical and extension.oid.dotted_string not in _KNOWN:
            # 5.2: a CRL with a critical extension that is not recognized must not be used.
            self.unusable = f"critical extension {extension.oid.dotted_string}"

    def _entries(self, data: bytes, at: int, end: int) -> dict[int, int | None]:
        """Serial number to reason code, of a CRL whose issuer speaks for its own certificates only."""
        reasons: dict[int, int | None] = {}
        for kind, start, stop in der.elements(data, *_revoked_certificates(data, at, end)):
            tag, serial_start, serial_end = der.element(data, start, stop)
            if kind != der.SEQUENCE or tag != der.INTEGER:
                raise ValueError("an entry that does not begin with a serial number")
            serial = int.from_bytes(data[serial_start:serial_end], "big", signed=True)
            _, _, date_end = der.element(data, serial_end, stop)
            reason = self._entry_reason(data, date_end, stop) if date_end < stop else None
            _keep(reasons, serial, reason)
        return reasons

    def _entry_reason(self, data: bytes, at: int, end: int) -> int | None:
        """The reason code among an entry's extensions; one that is critical and unknown makes the CRL unusable."""
        reason = None
        for _, start, stop in der.elements(data, *der.only(data, der.SEQUENCE, at, end)):
            parts = list(der.elements(data, start, stop))
            oid = data[parts[0][1] : parts[0][2]]
            critical = parts[1][0] == der.BOOLEAN and data[parts[1][1]] != 0
            if oid == _REASON_CODE:
                content = der.only(data, der.ENUMERATED, *parts[-1][1:])
                reason = data[content[0]]
            elif oid == _CERTIFICATE_ISSUER:
                raise ValueError("an entry names a certificate issuer, but the CRL is not indirect")
            elif critical and oid not in _KNOWN_ENTRY_EXTENSIONS:
                self.unusable = f"critical extension {der.oid(oid)} of an entry"
        return reason

    def _indirect(self, parsed: x509.CertificateRevocationList) -> CrlIndex:
        """5.3.3: an entry without a certificate issuer has the one of the entry before it, the first the CRL's own."""
        entries: dict[tuple[Name, int], int | None] = {}
        issuer = self.issuer
        for entry in parsed:
            reason = None
            for extension in entry.extensions:
                value = extension.value
                if isinstance(value, x509.CertificateIssuer):
                    issuer = _directory_name(value)
                elif isinstance(value, x509.CRLReason):
                    reason = _reason_code(value)
                elif extension.critical and not isinstance(value, x509.InvalidityDate):
                    self.unusable = f"critical extension {extension.oid.dotted_string} of an entry"
            _keep(entries, (issuer, entry.serial_number), reason)
        return IndirectIndex(entries)

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

        Where number and thisUpdate disagree, neither supersedes the other, and both are asked.
        """
        newer_time = self.this_update >= other.this_update
        newer_number = self.number is None or other.number is None or self.number >= other.number
        same = self.this_update == other.this_update and self.number == other.number
        return newer_time and newer_number and not same


def _keep(entries: dict[K, int | None], key: K, reason: int | None) -> None:
    """Of two entries for one certificate, the one that says "revoked" stays."""
    if key not in entries or reason != REMOVE_FROM_CRL:
        entries[key] = reason


def _revoked_certificates(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Start and end of the entries in a TBSCertList (5.1): the second SEQUENCE behind the first date."""
    dated = False
    for tag, start, stop in der.elements(data, at, end):
        if tag in (der.UTC_TIME, der.GENERALIZED_TIME):
            dated = True
        elif dated and tag == der.SEQUENCE:
            return start, stop
    return end, end


def _check_algorithms(data: bytes, at: int, end: int) -> None:
    """5.1.1.2: the algorithm inside the signed part, behind the version, must be the one outside."""
    inner = next(data[a:b] for tag, a, b in der.elements(data, at, end) if tag == der.SEQUENCE)
    _, start, stop = der.element(data, end, len(data))
    if inner != data[start:stop]:
        raise ValueError("the signature algorithms inside and outside differ")


def _directory_name(value: x509.CertificateIssuer) -> Name:
    names = value.get_values_for_type(x509.DirectoryName)
    if len(names) != 1:
        raise ValueError("a certificate issuer that is not one directory name")
    return Name(names[0])


_REASON_CODES: Final = {
    x509.ReasonFlags.unspecified: 0,
    x509.ReasonFlags.key_compromise: 1,
    x509.ReasonFlags.ca_compromise: 2,
    x509.ReasonFlags.affiliation_changed: 3,
    x509.ReasonFlags.superseded: 4,
    x509.ReasonFlags.cessation_of_operation: 5,
    x509.ReasonFlags.certificate_hold: 6,
    x509.ReasonFlags.remove_from_crl: 8,
    x509.ReasonFlags.privilege_withdrawn: 9,
    x509.ReasonFlags.aa_compromise: 10,
}


def _reason_code(value: x509.CRLReason) -> int:
    return _REASON_CODES[value.reason]
