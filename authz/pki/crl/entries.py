"""The entries of a CRL (RFC 5280 section 5.1.2.6), read by one walk over its DER, whatever their number.

An index is built from this walk, which makes no object that outlives its entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authz.pki.crl.bounds import check_certificate_issuer
from authz.pki.x509 import der

if TYPE_CHECKING:
    from collections.abc import Iterator

Entry = tuple[bytes, int, int]
"""(content of the serial number in its shortest form, start and end of the extensions); equal where it has none."""

MAX_BLOCKS: Final = 256
"""Extension blocks remembered while one CRL is read: most entries share the block of their reason code."""

_DATES: Final = frozenset({der.UTC_TIME, der.GENERALIZED_TIME})

_REASON_CODE: Final = "2.5.29.21"  # RFC 5280 section 5.3.1
_CERTIFICATE_ISSUER: Final = "2.5.29.29"  # section 5.3.3
_WITHOUT_A_SAY: Final = frozenset(
    {
        "2.5.29.24",  # invalidityDate, section 5.3.2: a certificate listed is refused whatever the date says
        "2.5.29.23",  # holdInstructionCode, RFC 3280 section 5.3.2
    }
)


@dataclass(frozen=True, slots=True)
class EntryExtensions:
    """What the extensions of one entry say.

    `names_issuer`: a certificateIssuer is among them. `unknown` is the dotted identifier of a critical
    extension that is not processed here, empty if there is none.
    """

    reason: int | None = None
    names_issuer: bool = False
    unknown: str = ""


NO_EXTENSIONS: Final = EntryExtensions()


def entries(data: bytes, at: int, end: int) -> Iterator[Entry]:
    """The entries that fill the octets from `at` to `end`. Raises `ValueError` for anything that is not one."""
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
    """Reads the extensions of entries; blocks that are the same octets are read once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._blocks: dict[bytes, EntryExtensions] = {}

    def read(self, at: int, end: int) -> EntryExtensions:
        """What the extensions between the two offsets say. Raises `ValueError`."""
        if at == end:
            return NO_EXTENSIONS
        block = self._data[at:end]
        found = self._blocks.get(block)
        if found is None:
            found = read_extensions(block)
            if len(self._blocks) < MAX_BLOCKS:
                self._blocks[block] = found
        return found


def read_extensions(block: bytes) -> EntryExtensions:
    """What one block of entry extensions says. Raises `ValueError`, also for one that is given twice."""
    seen: set[str] = set()
    reason, unknown = None, ""
    start, end = der.only(block, der.SEQUENCE)
    if start == end:
        raise ValueError("an empty sequence of entry extensions")
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
        elif critical and oid not in _WITHOUT_A_SAY:
            unknown = oid
    return EntryExtensions(reason, _CERTIFICATE_ISSUER in seen, unknown)


def _extension(block: bytes, at: int, end: int) -> tuple[str, bool, bytes]:
    """Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING } (section 4.1)."""
    parts = [(tag, block[a:b]) for tag, a, b in der.elements(block, at, end)]
    tags = tuple(tag for tag, _ in parts)
    # X.690 section 11.1 writes TRUE as FF, section 11.5 leaves a default out.
    critical = tags == (der.OID, der.BOOLEAN, der.OCTET_STRING) and parts[1][1] == b"\xff"
    if not critical and tags != (der.OID, der.OCTET_STRING):
        raise ValueError("an entry extension that is not well-formed")
    return der.oid(parts[0][1]), critical, parts[-1][1]


def _reason(value: bytes) -> int:
    """CRLReason ::= ENUMERATED (5.3.1). A code without a meaning stays: the certificate is listed all the same."""
    start, end = der.only(value, der.ENUMERATED)
    return der.integer(value[start:end])
