"""The entries of a CRL: as they stand in its DER, and with the issuers of the certificates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import NOW, Authority, entry, name, tlv

from authz.pki.crl.entries import (
    MAX_BLOCKS,
    MAX_ISSUERS,
    NO_EXTENSIONS,
    EntryExtensions,
    ExtensionReader,
    RevokedCertificates,
    raw_entries,
    read_extensions,
)
from authz.pki.crl.header import CrlHeader, CrlLayout
from authz.pki.x509 import der
from authz.pki.x509.distinguished_name import Name

CA = Authority.root()
NAMED_CA = Authority.root("CA")
CRL_ISSUER, OTHER = Name(name("CA")), Name(name("Other"))
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
INDIRECT = [(x509.IssuingDistributionPoint(None, None, False, False, None, True, False), True)]
REASON = bytes.fromhex("551d15")
ISSUER = bytes.fromhex("551d1d")
INVALIDITY = bytes.fromhex("551d18")
HOLD_INSTRUCTION = bytes.fromhex("551d17")
PRIVATE = bytes.fromhex("2a0304")

DATE = tlv(der.UTC_TIME, b"260101000000Z")

# What the enumeration calls each code (RFC 5280 section 5.3.1).
CODES = {
    0: x509.ReasonFlags.unspecified,
    1: x509.ReasonFlags.key_compromise,
    6: x509.ReasonFlags.certificate_hold,
    8: x509.ReasonFlags.remove_from_crl,
    10: x509.ReasonFlags.aa_compromise,
}


def extension(oid: bytes, value: bytes, critical: bytes = b"") -> bytes:
    """One extension; `critical` is the whole BOOLEAN, if any."""
    return tlv(der.SEQUENCE, tlv(der.OID, oid) + critical + tlv(der.OCTET_STRING, value))


def block(*extensions: bytes) -> bytes:
    """The extensions of one entry."""
    return tlv(der.SEQUENCE, b"".join(extensions))


def reason(code: int) -> bytes:
    """A reason code extension."""
    return extension(REASON, tlv(der.ENUMERATED, bytes([code])))


CRITICAL = bytes.fromhex("0101ff")


@given(st.lists(st.tuples(st.integers(1, 2**159 - 1), st.sampled_from([None, *CODES])), max_size=8))
def test_entries_agree_with_the_library(listed: list[tuple[int, int | None]]) -> None:
    """Serial numbers and reasons are the ones that the library's own iteration finds."""
    data = CA.crl(*(entry(serial, reason=None if code is None else CODES[code]) for serial, code in listed))
    parsed = x509.load_der_x509_crl(data)
    assert walked(data) == [(one.serial_number, code_of(one)) for one in parsed] == listed


def walked(data: bytes) -> list[tuple[int, int | None]]:
    """Serial numbers and reason codes by our walk."""
    _, start, end = der.signed_part(data)
    lists = [(a, b) for tag, a, b in list(der.elements(data, start, end))[5:] if tag == der.SEQUENCE]
    reader = ExtensionReader(data)
    found = [one for lo, hi in lists for one in raw_entries(data, lo, hi)]
    return [(der.integer(serial), reader.read(a, b).reason) for serial, a, b in found]


def code_of(parsed: x509.RevokedCertificate) -> int | None:
    """The reason code as the library reads it."""
    try:
        found = parsed.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return None
    return {flag: code for code, flag in CODES.items()}[found]


def test_entries_are_those_between_the_offsets() -> None:
    """The walk begins and ends where it is set to."""
    one = tlv(der.SEQUENCE, tlv(der.INTEGER, b"\x05") + DATE)
    assert len(list(raw_entries(b"--" + one * 3, 2, 2 + 2 * len(one)))) == 2


@pytest.mark.parametrize("serial", [b"\x00", b"\xff", b"\x80\x00", b"\x7f" * 30])
def test_entry_with_an_odd_serial_is_read(serial: bytes) -> None:
    """Zero, negative and overlong serial numbers are numbers (RFC 5280 section 4.1.2.2)."""
    data = tlv(der.SEQUENCE, tlv(der.INTEGER, serial) + DATE)
    assert [one[0] for one in raw_entries(data, 0, len(data))] == [serial]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(tlv(der.SET, tlv(der.INTEGER, b"\x05") + DATE), id="no sequence"),
        pytest.param(tlv(der.SEQUENCE, b""), id="empty"),
        pytest.param(tlv(der.SEQUENCE, tlv(der.ENUMERATED, b"\x05") + DATE), id="no integer"),
        pytest.param(tlv(der.SEQUENCE, tlv(der.INTEGER, b"\x00\x05") + DATE), id="padded integer"),
        pytest.param(tlv(der.SEQUENCE, tlv(der.INTEGER, b"\x05")), id="no date"),
        pytest.param(tlv(der.SEQUENCE, tlv(der.INTEGER, b"\x05") + tlv(4, b"")), id="something else for the date"),
        pytest.param(tlv(der.SEQUENCE, tlv(der.INTEGER, b"\x05") + DATE)[:-1], id="cut off"),
    ],
)
def test_malformed_entry_is_refused(data: bytes) -> None:
    """Whatever does not begin with a serial number and a date is refused."""
    with pytest.raises(ValueError, match=r"entry|DER"):
        list(raw_entries(data, 0, len(data)))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (block(reason(1)), EntryExtensions(reason=1)),
        (block(reason(7)), EntryExtensions(reason=7)),
        (block(), NO_EXTENSIONS),
        (block(extension(PRIVATE, b"", bytes.fromhex("010100"))), NO_EXTENSIONS),
        (block(extension(PRIVATE, b"", bytes.fromhex("010101"))), EntryExtensions(unknown="1.2.3.4")),
        (block(extension(ISSUER, tlv(der.SEQUENCE, b""), CRITICAL)), EntryExtensions(issuer=tlv(der.SEQUENCE, b""))),
        (block(extension(INVALIDITY, b"", CRITICAL), reason(3)), EntryExtensions(reason=3)),
        (block(extension(HOLD_INSTRUCTION, b"", CRITICAL)), NO_EXTENSIONS),
        (block(extension(PRIVATE, b"")), NO_EXTENSIONS),
        (block(extension(PRIVATE, b"", CRITICAL), reason(8)), EntryExtensions(reason=8, unknown="1.2.3.4")),
    ],
)
def test_extensions_say_what_they_say(raw: bytes, expected: EntryExtensions) -> None:
    """Each kind of entry extension has its meaning; one that is unknown counts if it is critical."""
    assert read_extensions(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(block(reason(1), reason(8)), id="twice"),
        pytest.param(block(tlv(der.SET, b"")), id="no sequence"),
        pytest.param(block(tlv(der.SEQUENCE, tlv(der.OID, REASON))), id="no value"),
        pytest.param(block(extension(PRIVATE, b"", bytes.fromhex("010102"))), id="neither true nor false"),
        pytest.param(block(extension(PRIVATE, b"", bytes.fromhex("0102ffff"))), id="true of two bytes"),
        pytest.param(block(extension(REASON, b"")), id="no reason in it"),
        pytest.param(block(extension(REASON, tlv(der.ENUMERATED, b""))), id="empty reason"),
        pytest.param(block(extension(REASON, tlv(der.INTEGER, b"\x01"))), id="an integer for a reason"),
        pytest.param(block(extension(REASON, tlv(der.ENUMERATED, b"\x01") + b"\0")), id="something behind the reason"),
        pytest.param(block(reason(1)) + b"\0", id="something behind the extensions"),
    ],
)
def test_extensions_not_well_formed_refuse(raw: bytes) -> None:
    """Nothing is guessed: what is not well-formed, or is said twice, is refused."""
    with pytest.raises(ValueError, match=r"entry|DER"):
        read_extensions(raw)


def test_reader_reads_the_same_octets_once() -> None:
    """Entries that share a block share what it says."""
    data = block(reason(1)) * 2
    reader, half = ExtensionReader(data), len(data) // 2
    assert reader.read(0, half) is reader.read(half, len(data))


def test_reader_remembers_a_bounded_number_of_blocks() -> None:
    """A CRL whose entries all differ does not fill memory."""
    blocks = [block(extension(INVALIDITY, tlv(4, str(number).encode()))) for number in range(MAX_BLOCKS + 5)]
    data, at = b"".join(blocks), 0
    reader: Any = ExtensionReader(data)
    for one in blocks:
        reader.read(at, at := at + len(one))
    assert len(reader._blocks) == MAX_BLOCKS


def test_reader_without_extensions_reads_nothing() -> None:
    """An entry without extensions says nothing more."""
    assert ExtensionReader(b"").read(0, 0) is NO_EXTENSIONS


def test_date_of_an_entry_decides_nothing() -> None:
    """An entry that is dated ahead lists its certificate all the same."""
    data = CA.crl(entry(5, date=NOW + timedelta(days=900)))
    assert walked(data) == [(5, None)]


def revoked(data: bytes, *, v1: bool = False) -> RevokedCertificates:
    """The entries of a CRL in DER."""
    layout = CrlLayout.of(data)
    header = CrlHeader(data, x509.load_der_x509_crl(data), layout)
    header.v1 = v1
    return RevokedCertificates(data, header, layout)


def test_direct_entries_are_of_the_crl_issuer() -> None:
    """Serial numbers as they stand, reasons where there are any."""
    data = NAMED_CA.crl(5, entry(200, reason=x509.ReasonFlags.certificate_hold))
    assert list(revoked(data)) == [(CRL_ISSUER, b"\x05", None), (CRL_ISSUER, b"\x00\xc8", 6)]


def test_indirect_entries_are_of_the_issuer_named_last() -> None:
    """RFC 5280 section 5.3.3: the first ones are the CRL issuer's own."""
    named = entry(2, issuer=name("Other")), entry(4, issuer=name("Other"))
    data = NAMED_CA.crl(1, named[0], 3, named[1], entry(5, issuer=name("CA")), extensions=INDIRECT)
    issuers = [CRL_ISSUER, OTHER, OTHER, OTHER, CRL_ISSUER]
    assert list(revoked(data)) == [(issuer, bytes([at]), None) for at, issuer in enumerate(issuers, 1)]


def test_indirect_entries_of_many_issuers_are_all_read() -> None:
    """Also of more issuers than are kept."""
    names = [name(f"Other {number}") for number in range(MAX_ISSUERS + 2)]
    data = NAMED_CA.crl(*(entry(1, issuer=other) for other in names), extensions=INDIRECT)
    assert [issuer for issuer, _, _ in revoked(data)] == list(map(Name, names))


def test_direct_entry_that_names_an_issuer_refuses() -> None:
    """Only an indirect CRL has entries of others."""
    with pytest.raises(ValueError, match="not indirect"):
        list(revoked(NAMED_CA.crl(entry(1, issuer=name("Other")))))


def test_entry_of_two_issuers_refuses() -> None:
    """A certificate has one."""
    names = x509.CertificateIssuer([x509.DirectoryName(name("A")), x509.DirectoryName(name("B"))])
    with pytest.raises(ValueError, match="one directory name"):
        list(revoked(NAMED_CA.crl(entry(1, extensions=[(names, True)]), extensions=INDIRECT)))


def test_entry_with_extensions_in_version_1_refuses() -> None:
    """RFC 5280 section 5.1.2.1."""
    with pytest.raises(ValueError, match="version 1"):
        list(revoked(NAMED_CA.crl(5, reason=x509.ReasonFlags.superseded), v1=True))


@pytest.mark.parametrize("extensions", [[], INDIRECT])
def test_entry_with_an_unknown_critical_extension_counts(
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> None:
    """The CRL proves no certificate good, and what it lists is listed (RFC 5280 section 5.3)."""
    certificates = revoked(NAMED_CA.crl(entry(5, extensions=[(UNKNOWN, True)]), 6, extensions=extensions))
    assert len(list(certificates)) == 2
    assert certificates.unusable == "critical extension 1.2.3.4 of an entry"


def test_entries_without_anything_unknown_leave_what_the_header_says() -> None:
    """That is, why the CRL's own extensions make it unusable."""
    certificates = revoked(NAMED_CA.crl(5, extensions=[(UNKNOWN, True)]))
    assert len(list(certificates)) == 1
    assert certificates.unusable == "critical extension 1.2.3.4"
