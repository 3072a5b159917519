"""The entries of a CRL (RFC 5280 sections 5.1.2.6 and 5.3), read in one pass over its DER, however many there are.

Indexes are built from this pass, which makes no object that outlives its entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authz.pki.crl.bounds import check_certificate_issuer
from authz.pki.x509 import der, library, tolerated
from authz.pki.x509.distribution_points import directory_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.pki.crl.header import CrlHeader, CrlLayout
    from authz.pki.x509.distinguished_name import Name

CrlEntry = tuple["Name", bytes, int | None]
"""(issuer of the certificate, content of its serial number in the shortest form, reason code if any)."""

RawEntry = tuple[bytes, int, int]
"""(content of the serial number in its shortest form, start and end of the extensions, equal if there are none)."""

MAX_ISSUERS: Final = 256
"""Names of certificate issuers cached while one CRL is read: entries of one issuer mostly follow one another."""

MAX_BLOCKS: Final = 256
"""Extension blocks cached while one CRL is read: most entries share the block of their reason code."""

_DATES: Final = frozenset({der.UTC_TIME, der.GENERALIZED_TIME})

_REASON_CODE: Final = "2.5.29.21"  # RFC 5280 section 5.3.1
_CERTIFICATE_ISSUER: Final = "2.5.29.29"  # section 5.3.3
_IGNORED: Final = frozenset(
    {
        "2.5.29.24",  # invalidityDate, section 5.3.2: a listed certificate is refused whatever the date
        "2.5.29.23",  # holdInstructionCode, RFC 3280 section 5.3.2
    }
)


@dataclass(frozen=True, slots=True)
class EntryExtensions:
    """The values of one entry's extensions.

    `issuer` is the value of a certificateIssuer, in DER, None without one. `unknown` is the dotted identifier of a
    critical extension that is not processed here, empty without one.
    """

    reason: int | None = None
    issuer: bytes | None = None
    unknown: str = ""


NO_EXTENSIONS: Final = EntryExtensions()


def raw_entries(data: bytes, at: int, end: int) -> Iterator[RawEntry]:
    """The entries that fill the bytes from `at` to `end`. Raises `ValueError` for anything else."""
    while at < end:
        tag, start, stop = der.element(data, at, end)
        kind, serial_start, serial_end = der.element(data, start, stop)
        date, _, date_end = der.element(data, serial_end, stop)
        if tag != der.SEQUENCE or kind != der.INTEGER or date not in _DATES:
            raise ValueError("an entry that does not begin with a serial number and a date")
        serial = data[serial_start:serial_end]
        der.integer(serial)  # raises for one that is not the shortest
        yield serial, date_end, stop
        at = stop


class ExtensionReader:
    """Reads the extensions of entries; equal blocks of them are read once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._blocks: dict[bytes, EntryExtensions] = {}

    def read(self, at: int, end: int) -> EntryExtensions:
        """The extensions between the two offsets. Raises `ValueError`."""
        if at == end:
            return NO_EXTENSIONS
        block = self._data[at:end]
        extensions = self._blocks.get(block)
        if extensions is None:
            extensions = read_extensions(block)
            if len(self._blocks) < MAX_BLOCKS:
                self._blocks[block] = extensions
        return extensions


def read_extensions(block: bytes) -> EntryExtensions:
    """One block of entry extensions. Raises `ValueError`, also for an extension that is repeated."""
    seen: set[str] = set()
    reason, issuer, unknown = None, None, ""
    start, end = der.only(block, der.SEQUENCE)
    for tag, a, b in der.elements(block, start, end):
        if tag != der.SEQUENCE:
            raise ValueError("an entry extension that is no sequence")
        oid, critical, value = _extension(block, a, b)
        if oid in seen:
            raise ValueError(f"the entry extension {oid} appears twice")
        seen.add(oid)
        if oid == _REASON_CODE:
            reason = _reason(value)
        elif oid == _CERTIFICATE_ISSUER:
            check_certificate_issuer(value)
            issuer = value
        elif critical and oid not in _IGNORED:
            unknown = oid
    return EntryExtensions(reason, issuer, unknown)


def _extension(block: bytes, at: int, end: int) -> tuple[str, bool, bytes]:
    """Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING } (section 4.1)."""
    parts = [(tag, block[a:b]) for tag, a, b in der.elements(block, at, end)]
    tags = tuple(tag for tag, _ in parts)
    stated = tags == (der.OID, der.BOOLEAN, der.OCTET_STRING)
    if not stated and tags != (der.OID, der.OCTET_STRING):
        raise ValueError("an entry extension that is not well-formed")
    critical = stated and tolerated.boolean(parts[1][1])
    return der.oid(parts[0][1]), critical, parts[-1][1]


def _reason(value: bytes) -> int:
    """CRLReason ::= ENUMERATED (5.3.1). Codes without a meaning are kept: the certificate is listed all the same."""
    start, end = der.only(value, der.ENUMERATED)
    return der.integer(value[start:end])


class RevokedCertificates:
    """The entries of one CRL, to be iterated over once; only then `unusable` (see `CrlHeader`) covers them, too.

    Iterating raises `ValueError` for a CRL that is not well-formed.
    """

    def __init__(self, data: bytes, header: CrlHeader, layout: CrlLayout) -> None:
        self._data = data
        self._header = header
        self._span = layout.start, layout.end
        self.unusable = header.unusable

    def __iter__(self) -> Iterator[CrlEntry]:
        return self._indirect() if self._header.indirect else self._direct()

    def _direct(self) -> Iterator[CrlEntry]:
        """All certificates are the CRL issuer's."""
        reader, issuer = ExtensionReader(self._data), self._header.issuer
        for serial, start, stop in raw_entries(self._data, *self._span):
            if start == stop:
                yield issuer, serial, None
                continue
            self._header.require_version_2()
            extensions = reader.read(start, stop)
            self._check_critical(extensions)
            if extensions.issuer is not None:
                raise ValueError("an entry names a certificate issuer, but the CRL is not indirect")
            yield issuer, serial, extensions.reason

    def _indirect(self) -> Iterator[CrlEntry]:
        """5.3.3: an entry without a certificate issuer has that of the entry before it, the first the CRL's own."""
        reader, issuer = ExtensionReader(self._data), self._header.issuer
        issuers: dict[bytes, Name] = {}
        for serial, start, stop in raw_entries(self._data, *self._span):
            extensions = reader.read(start, stop)
            self._check_critical(extensions)
            if extensions.issuer is not None:
                stated = extensions.issuer
                issuer = issuers.get(stated) or _certificate_issuer(stated)
                if len(issuers) < MAX_ISSUERS:
                    issuers[stated] = issuer
            yield issuer, serial, extensions.reason

    def _check_critical(self, extensions: EntryExtensions) -> None:
        """5.3: a CRL with a critical entry extension that cannot be processed proves no certificate good."""
        if extensions.unknown:
            self.unusable = f"critical extension {extensions.unknown} of an entry"


def _certificate_issuer(value: bytes) -> Name:
    names = directory_names(library.read_general_names(value))
    if len(names) != 1:
        raise ValueError("a certificate issuer that is not one directory name")
    return names[0]
