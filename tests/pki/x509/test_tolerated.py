"""Encodings with one reading are read like DER, and nothing besides; the bytes as they stand are what is signed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from cryptography import x509
from support.odd_encodings import (
    BASIC,
    CERTIFICATES,
    CRLS,
    ECDSA_NULL,
    FALSE,
    KEY,
    NO_CA,
    ONE,
    SCOPE,
    TRUE,
    addresses,
    certificate,
    crl,
    extension,
    of_attributes,
)
from support.raw_der import ECDSA_SHA256, handmade, raw_name, sequence, tlv

from authz.errors import Refused
from authz.pki import Certificate, Crl
from authz.pki.x509 import library, tolerated
from authz.pki.x509.algorithms import verify_signature
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.extensions import Extensions
from authz.pki.x509.tolerated import MAX_DEPTH
from authz.reasons import Reason


def said(extensions: Extensions) -> list[object]:
    """Every value."""
    return [getattr(extensions, attribute) for attribute in Extensions.__annotations__]


BOTH = [*CERTIFICATES.values(), *CRLS.values()]


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificate_is_read_as_if_it_were_der(name: str) -> None:
    """Its rules see no difference; its identity is that of the bytes as they stand, and so is what is signed."""
    plain, odd = map(Certificate.parse, CERTIFICATES[name])
    for attribute in ("subject", "issuer", "key", "serial", "not_before", "not_after", "signature_algorithm"):
        assert getattr(odd, attribute) == getattr(plain, attribute)
    assert said(odd.extensions) == said(plain.extensions)
    assert odd.sha256 == hashlib.sha256(CERTIFICATES[name][1]).digest() != plain.sha256
    verify_signature(KEY.public_key(), odd.signed)
    odd.let_go()
    verify_signature(KEY.public_key(), odd.signed)
    assert odd.public_key == plain.public_key


@pytest.mark.parametrize("name", CRLS)
def test_crl_is_read_as_if_it_were_der(name: str) -> None:
    """Likewise."""
    plain, odd = map(Crl, CRLS[name])
    for attribute in ("issuer", "this_update", "number", "base_number", "idp", "scope", "names", "unusable"):
        assert getattr(odd, attribute) == getattr(plain, attribute)
    assert odd.index.find(5, odd.issuer) == plain.index.find(5, plain.issuer)
    assert odd.index.find(5, odd.issuer) is not None
    assert odd.sha256 == hashlib.sha256(CRLS[name][1]).digest() != plain.sha256
    verify_signature(KEY.public_key(), odd.signed)


def test_printable_string_beyond_ascii_is_read_as_the_bytes_that_stand_there() -> None:
    """Of issuer and subject, which are read from the DER and not from what the library was given."""
    odd = raw_name(b"Caf\xe9", 0x13)
    read, listed = Certificate.parse(certificate(subject=odd, issuer=odd)), Crl(crl(issuer=odd))
    assert read.subject == read.issuer == listed.issuer == Name.read(odd)
    assert read.subject != Certificate.parse(certificate(subject=raw_name("Caf\u00e9".encode()))).subject
    verify_signature(KEY.public_key(), read.signed)
    verify_signature(KEY.public_key(), listed.signed)


def test_printable_string_beyond_ascii_in_an_extension_is_left() -> None:
    """The library's text of it would be compared, under which two that differ may be equal."""
    name = sequence(tlv(0xA4, raw_name(b"\xe9", 0x13)))
    assert tolerated.value(name) == name
    with pytest.raises(ValueError, match="DER"):
        library.read_general_names(name)


@pytest.mark.parametrize("data", [plain for plain, _ in BOTH])
def test_der_is_left_as_it_is(data: bytes) -> None:
    """Whatever is in it."""
    rewritten = tolerated.certificate if b"\xa0\x03\x02\x01\x02" in data[:20] else tolerated.crl
    assert rewritten(data) == data


HOSTILE = {
    "TRUE as 02": certificate(extension(BASIC, NO_CA, bytes.fromhex("010102"))),
    "TRUE of two bytes": certificate(extension(BASIC, NO_CA, bytes.fromhex("0102ffff"))),
    "FALSE twice": certificate(extension(BASIC, NO_CA, FALSE + FALSE)),
    "FALSE and TRUE": certificate(extension(BASIC, NO_CA, FALSE + TRUE)),
    "FALSE behind the value": certificate(sequence(tlv(6, BASIC), tlv(4, NO_CA), FALSE)),
    "a length that is not the shortest": certificate(extension(BASIC, NO_CA, bytes.fromhex("01810100"))),
    "an indefinite length": certificate(tlv(0x30, tlv(6, BASIC), FALSE, b"\x24\x80\x04\x02\x30\x00\0\0")),
    "NULL inside alone": certificate(inner=ECDSA_NULL),
    "NULL outside alone": certificate(outer=ECDSA_NULL),
    "NULL with content": certificate(inner=(odd := bytes.fromhex("300d06082a8648ce3d040302050100")), outer=odd),
    "other parameters": certificate(inner=(odd := bytes.fromhex("300c06082a8648ce3d0403023000")), outer=odd),
    "NULL of an Edwards curve": certificate(inner=(odd := bytes.fromhex("300706032b65700500")), outer=odd),
    "PrintableString beyond ASCII with NUL": certificate(subject=raw_name(b"\xe9\0", 0x13)),
    "PrintableString beyond ASCII with a line feed": certificate(issuer=raw_name(b"\xe9\n", 0x13)),
    "PrintableString beyond ASCII in an extension": certificate(
        extension(bytes.fromhex("551d11"), sequence(tlv(0xA4, raw_name(b"\xe9", 0x13))), TRUE)
    ),
    "PrintableString with a line feed": certificate(subject=raw_name(b"a@\n", 0x13)),
    "PrintableString with NUL": certificate(subject=raw_name(b"a@\0", 0x13)),
    "UTF8String in latin-1": certificate(extension(BASIC, NO_CA, FALSE), subject=raw_name(b"\xe9")),
    "IA5String in latin-1": certificate(extension(BASIC, NO_CA, FALSE), subject=raw_name(b"\xe9", 0x16)),
    "an extension twice": certificate(extension(BASIC, NO_CA, FALSE), extension(BASIC, NO_CA)),
    "data behind the value": certificate(sequence(tlv(6, BASIC), FALSE, tlv(4, NO_CA), b"\5\0")),
    "cA as 02": certificate(extension(BASIC, bytes.fromhex("3003010102"))),
    "cA twice": certificate(extension(BASIC, bytes.fromhex("3006010100010101"))),
    "a mask that is no prefix": certificate(addresses("0a010203ff00ff00 0a000000ff000000")),
    "an address without a mask": certificate(addresses("0a010203 0a000000ff000000")),
    "an address of seven bytes": certificate(addresses("0a0102ff000000 0a000000ff000000")),
    "an address of 31 bytes": certificate(addresses(f"{'20' * 15}{'ff' * 2}{'00' * 14} 0a000000ff000000")),
    "an empty address": certificate(
        sequence(tlv(6, bytes.fromhex("551d1e")), TRUE, tlv(4, bytes.fromhex("3006a00430028700")))
    ),
    "no certificate": sequence(sequence(), ECDSA_SHA256, tlv(3, b"\0")),
    "two elements": sequence(sequence(), sequence()),
    "an extension of FALSE alone": certificate(sequence(FALSE)),
}


def read_all(data: bytes) -> None:
    """What is read on first use. Raises `Refused`."""
    certificate = Certificate.parse(data)
    certificate.signed, certificate.subject, certificate.extensions  # noqa: B018


@pytest.mark.parametrize("name", HOSTILE)
def test_what_has_two_readings_is_malformed(name: str) -> None:
    """Near what is tolerated, and not in the table."""
    with pytest.raises(Refused) as caught:
        read_all(HOSTILE[name])
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED


DISORDERED = "8101008101ff", "8101ff810100", "8401008401ff", "810100810100", "8201008101ff"
"""Fields of an issuing distribution point that are there twice, or in another order, one of them FALSE."""


@pytest.mark.parametrize(
    "data",
    [
        crl(extension(b"\x2a\3", b"", bytes.fromhex("010102"))),
        crl(entry=sequence(extension(b"\x2a\3", b"", bytes.fromhex("010102")))),
        crl(entry=sequence(extension(b"\x2a\3", b"", FALSE), extension(b"\x2a\3", b""))),
        crl(entry=sequence(extension(b"\x2a\3", b"", FALSE)) + sequence()),
        crl(extension(b"\x2a\3", b"", ONE), extension(b"\x2a\3", b"")),
        crl(algorithm=bytes.fromhex("300d06082a8648ce3d040302050100")),
        crl(outer=ECDSA_NULL),
        crl(algorithm=ECDSA_NULL, outer=ECDSA_SHA256),
        *(crl(extension(SCOPE, bytes.fromhex(f"3006{flags}"), TRUE)) for flags in DISORDERED),
        sequence(sequence(), sequence(), tlv(3, b"\0")),
        b"",
    ],
)
def test_crl_that_has_two_readings_is_malformed(data: bytes) -> None:
    """Likewise."""
    with pytest.raises(Refused) as caught:
        Crl(data)
    assert caught.value.reason is Reason.CRL_MALFORMED
    with pytest.raises(ValueError):  # noqa: PT011 - nothing is rewritten of it
        tolerated.crl(b"\x30\0")


def test_entries_of_a_large_crl_are_rewritten_in_time_linear_in_their_number() -> None:
    """Each block once, but no more blocks than are remembered."""
    entries = b"".join(
        sequence(tlv(2, (5000 + number).to_bytes(2, "big")), tlv(0x17, b"260101000000Z"), block)
        for number in range(600)
        for block in [sequence(extension(b"\x2a" + bytes([number % 128, number // 128]), b"", FALSE)), b""][
            number % 2 :
        ]
    )
    plain = tolerated._entries(tlv(0x30, entries))
    assert plain.count(FALSE) == 0
    assert len(plain) == len(entries) + 4 - 3 * 300


def test_names_inside_extensions_are_rewritten_but_for_those_of_another_kind() -> None:
    """A directory name; an otherName may hold anything, and stays."""
    odd, plain = raw_name(b"a@b", 0x13), raw_name(b"a@b", 0x0C)
    other = tlv(0xA0, tlv(6, b"\x2a\3"), tlv(0xA0, tlv(0x13, b"a@b")))
    assert tolerated.names(sequence(tlv(0xA4, odd), other)) == sequence(tlv(0xA4, plain), other)
    assert tolerated.names(of_attributes(b"bc", b"a")) == of_attributes(b"a", b"bc")


def test_names_that_are_nested_too_deeply_are_refused() -> None:
    """Before Python's own bound of recursion."""
    deep = tlv(0x13, b"a@b")
    for _ in range(MAX_DEPTH - 1):
        deep = sequence(deep)
    assert tolerated.names(deep) != deep
    with pytest.raises(ValueError, match="deeply"):
        tolerated.names(sequence(deep))
    for _ in range(3_000):
        deep = sequence(deep)
    with pytest.raises(Refused):
        Certificate.parse(certificate(subject=deep))


@pytest.mark.parametrize("rewrite", [tolerated.certificate, tolerated.crl])
@pytest.mark.parametrize("data", [sequence(sequence(), sequence(), sequence()), sequence(*[sequence()] * 41)])
def test_what_is_built_like_neither_is_not_rewritten(rewrite: Callable[[bytes], bytes], data: bytes) -> None:
    """Too few fields, or too many."""
    with pytest.raises(ValueError, match="too"):
        rewrite(data)


def test_issuing_point_keeps_its_other_fields() -> None:
    """Reasons, and names in another spelling."""
    assert tolerated.issuing_point(bytes.fromhex("300782010083020780")) == bytes.fromhex("300483020780")
    assert tolerated.names(raw_name(b"\xe9", 0x14)) == raw_name("\u00e9".encode())


def test_certificate_without_extensions_is_rewritten() -> None:
    """Of version 1."""
    odd, plain = (
        handmade(KEY, issuer=raw_name(b"CA"), subject=raw_name(b"a@b", tag), version=b"") for tag in (0x13, 0x0C)
    )
    assert Certificate.parse(odd).subject == Certificate.parse(plain).subject


def test_letters_in_an_extension_that_is_not_made_of_names_are_left() -> None:
    """And so is PrintableString of its own letters."""
    plain = sequence(tlv(0x13, b"abc"), tlv(0x13, b"\xe9"))
    assert tolerated.value(plain) == plain
    assert tolerated.value(b"\x30\x05") == b"\x30\x05"


def test_no_more_is_rewritten_than_certificates_in_use_have() -> None:
    """What a stranger sends is rewritten before anything of it is verified."""
    rdn = raw_name(b"a@b", 0x13)[2:]
    assert tolerated.names(sequence(rdn * 30)) != sequence(rdn * 30)
    with pytest.raises(ValueError, match="too much"):
        tolerated.names(sequence(rdn * 60))
    many = [extension(b"\x2a" + bytes([number]), b"", FALSE) for number in range(50)]
    assert Certificate.parse(certificate(*many[:20]))
    with pytest.raises(Refused):
        Certificate.parse(certificate(*many))


def test_teletex_string_is_utf8_where_that_is_valid() -> None:
    """Else latin-1 (RFC 5280 section 4.1.2.4)."""
    assert tolerated.teletex(b"Caf\xe9") == tolerated.teletex("Caf\u00e9".encode()) == "Caf\u00e9"


def test_teletex_strings_of_an_extension_keep_the_readings_that_they_have() -> None:
    """Though the library reads them as they are rewritten: what is UTF-8 has two, what is not has one."""
    mixed = sequence(*(raw_name(text, 0x14)[2:] for text in (b"\xe9", "\u00e9".encode())))
    (read,) = library.read_general_names(sequence(tlv(0xA4, mixed)))
    rewritten, written = Name(read.value), Name.read(mixed)
    assert (rewritten, rewritten.latin) == (written, written.latin)


@pytest.mark.parametrize(("content", "expected"), [(b"\0", False), (b"\1", True), (b"\xff", True)])
def test_boolean_is_read(content: bytes, expected: bool) -> None:
    """And nothing else is one."""
    assert tolerated.boolean(content) is expected
    with pytest.raises(ValueError, match="BOOLEAN"):
        tolerated.boolean(content + content)


def test_every_row_of_the_table_has_a_clause_and_a_peer() -> None:
    """And an issuer that was seen to sign it."""
    assert all(all(row) for row in tolerated.TOLERATED)
    assert x509.load_der_x509_certificate(CERTIFICATES["cA FALSE"][1])  # read late, by no rule of ours
