"""What a CRL says besides its entries."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from support.certificates import NOW, Authority, tlv
from support.raw_der import with_unused_bit

from authz.pki.crl.header import CrlHeader, CrlLayout, issuer_of, without_entries
from authz.pki.x509 import der
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import ALL_REASONS

CA = Authority.root("CA")
URI = x509.UniformResourceIdentifier("http://crl.example.test/1")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
POINT = x509.IssuingDistributionPoint(
    [URI], None, False, False, frozenset({x509.ReasonFlags.key_compromise}), True, False
)


def head(data: bytes) -> CrlHeader:
    """The head of a CRL in DER."""
    return CrlHeader(data, x509.load_der_x509_crl(data), CrlLayout.of(data))


def fields(data: bytes) -> list[bytes]:
    """The fields of the signed part, each with tag and length."""
    layout = CrlLayout.of(data)
    found, at = [], layout.fields
    for _, _, end in der.elements(data, layout.fields, layout.tbs_end):
        found.append(data[at:end])
        at = end
    return found


def version_1(data: bytes, *, extensions: bool = False) -> bytes:
    """The CRL without a version; its signature is void."""
    rest = data[CrlLayout.of(data).tbs_end :]
    kept = fields(data)[1:] if extensions else fields(data)[1:-1]
    return tlv(0x30, tlv(0x30, b"".join(kept)) + rest)


def test_head_says_what_the_issuer_wrote() -> None:
    """Issuer, number and dates; without more it speaks for everything."""
    found = head(CA.crl(5, number=7))
    assert (found.issuer, found.number, found.base_number) == (Name(CA.certificate.subject), 7, None)
    assert (found.this_update, found.next_update) == (NOW - timedelta(days=1), NOW + timedelta(days=6))
    assert (found.scope, found.names, found.reasons, found.unusable) == (b"", frozenset(), ALL_REASONS, "")
    assert (found.is_delta, found.indirect, found.v1) == (False, False, False)


def test_head_of_a_delta_has_a_base() -> None:
    """Of a delta CRL the base is there, too."""
    found = head(CA.crl(number=9, extensions=[(x509.DeltaCRLIndicator(4), True)]))
    assert (found.is_delta, found.base_number) == (True, 4)


def test_head_tells_its_scope() -> None:
    """The issuing distribution point, as it stands and as it is compared."""
    found = head(CA.crl(extensions=[(POINT, True)]))
    assert (found.scope, found.names, found.reasons) == (POINT.public_bytes(), {URI}, 1 << 1)
    assert found.indirect


@pytest.mark.parametrize(("critical", "why"), [(True, "critical extension 1.2.3.4"), (False, "")])
def test_head_with_an_unknown_extension_proves_no_certificate_good(critical: bool, why: str) -> None:
    """If it is critical (RFC 5280 section 5.2)."""
    assert head(CA.crl(extensions=[(UNKNOWN, critical)])).unusable == why


def test_head_with_impossible_dates_proves_no_certificate_good() -> None:
    """Without nextUpdate, and with one that no moment between the two dates can be before."""
    data = CA.crl()
    this_update, next_update = fields(data)[3:5]
    assert this_update[1] == next_update[1]
    backwards = data.replace(this_update + next_update, next_update + this_update)
    assert head(backwards).unusable == "a nextUpdate before its thisUpdate"
    layout = CrlLayout.of(data)
    kept = fields(data)
    del kept[4]
    without = tlv(0x30, tlv(0x30, b"".join(kept)) + data[layout.tbs_end :])
    assert (head(without).next_update, head(without).unusable) == (None, "no nextUpdate")


def number(content: bytes) -> bytes:
    """A CRL with this content of its number."""
    stated = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.20"), tlv(2, content))
    return CA.crl(number=None, extensions=[(stated, False)])


def test_number_of_more_than_20_bytes_is_read() -> None:
    """RFC 5280 section 5.2.3 asks issuers not to write one; up to what can be shown in decimals."""
    assert head(number(b"\x01" + bytes(20))).number == 2**160
    for content in (b"\x01" + bytes(128), b"\xff", b""):
        with pytest.raises(ValueError, match=r"number|shortest"):
            head(number(content))


def scope(value: str) -> CrlHeader:
    """The header of a CRL with this issuing distribution point."""
    stated = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.28"), bytes.fromhex(value))
    return head(CA.crl(extensions=[(stated, True)]))


def test_false_in_an_issuing_distribution_point_says_nothing() -> None:
    """The scope is what it is without it, so that a newer CRL that leaves it out supersedes; TRUE as 01 is TRUE."""
    plain, written = scope("3003 8101ff"), scope("3009 8101ff 820100 850100".replace("8101ff", "810101"))
    assert plain.scope == written.scope == bytes.fromhex("30038101ff")
    assert written.idp == plain.idp
    assert scope("3003 820100").scope == scope("3000").scope == b""


def test_extension_twice_refuses() -> None:
    """RFC 5280 section 5.2."""
    number = CA.crl(number=0x11, extensions=[(x509.DeltaCRLIndicator(0x12), False)])
    with pytest.raises(ValueError, match="twice"):
        head(number.replace(bytes.fromhex("0603551d1b"), bytes.fromhex("0603551d14")))


@pytest.mark.parametrize("value", ["3003810102", "30068101ff8101ff", "30068201ff8101ff", "30048101ff00", "3003a00100"])
def test_issuing_distribution_point_with_two_readings_refuses(value: str) -> None:
    """TRUE that is neither, fields twice or in another order, data behind the end."""
    with pytest.raises(ValueError):  # noqa: PT011 - in the parser's words
        scope(value)


def test_head_of_version_1_has_no_extensions() -> None:
    """RFC 5280 section 5.1.2.1."""
    assert head(version_1(CA.crl(5))).v1
    with pytest.raises(ValueError, match="version 1"):
        head(version_1(CA.crl(5), extensions=True))


@pytest.mark.parametrize("data", [CA.crl(5, 6), version_1(CA.crl(5, 6))])
def test_layout_tells_where_the_entries_are(data: bytes) -> None:
    """Between its offsets stands the list, and inside it the entries."""
    layout = CrlLayout.of(data)
    assert der.element(data, layout.revoked, layout.end) == (der.SEQUENCE, layout.start, layout.end)
    assert len(list(der.elements(data, layout.start, layout.end))) == 2
    assert data[layout.tbs : layout.tbs_end] == tlv(0x30, data[layout.fields : layout.tbs_end])


def test_layout_tells_unused_bits_of_the_signature() -> None:
    """With entries and without."""
    for revoked in ((), (5, 6)):
        assert CrlLayout.of(CA.crl(*revoked)).unused_bits == 0
        assert CrlLayout.of(with_unused_bit(CA.crl(*revoked) for _ in range(99))).unused_bits == 1


def test_layout_without_entries_is_empty() -> None:
    """Where no certificate is listed, there is nothing to walk through."""
    layout = CrlLayout.of(CA.crl())
    assert layout.revoked == layout.start == layout.end == layout.tbs_end


def test_layout_of_a_crl_without_extensions_ends_with_its_entries() -> None:
    """Of version 1, with entries and without."""
    assert CrlLayout.of(version_1(CA.crl(5))).v1
    empty = CrlLayout.of(version_1(CA.crl()))
    assert empty.revoked == empty.start == empty.end == empty.tbs_end


@pytest.mark.parametrize("count", [0, 3, 8, 100_000])
def test_layout_of_too_few_fields_or_too_many_is_refused(count: int) -> None:
    """No parser has seen them; of many no more are read than a CRL may have."""
    tbs = tlv(0x30, tlv(2, b"\x01") + tlv(5, b"") * (count - 1) if count else b"")
    with pytest.raises(ValueError, match="fields"):
        CrlLayout.of(tlv(0x30, tbs + tlv(0x30, b"") + tlv(3, b"\0")))


def test_layout_without_a_signature_is_refused() -> None:
    """Its unused bits would stand behind the end."""
    tbs = tlv(0x30, b"".join(fields(CA.crl())))
    with pytest.raises(ValueError, match="DER"):
        CrlLayout.of(tlv(0x30, tbs + tlv(0x30, b"")))
    with pytest.raises(ValueError, match="fields"):
        CrlLayout.of(tlv(0x30, tbs + tlv(0x30, b"") + tlv(3, b"")))


def test_head_tells_the_memory_that_it_takes() -> None:
    """A few thousand bytes, and what its names and its scope take."""
    plain = head(CA.crl()).memory
    assert 3_000 < plain < 6_000
    assert head(CA.crl(extensions=[(POINT, True)])).memory > plain + 500


CRLS = [
    CA.crl(number=3),
    CA.crl(5, 6, number=3),
    CA.crl(*range(1, 300), extensions=[(POINT, True), (UNKNOWN, True)]),
    version_1(CA.crl(5)),
]


@pytest.mark.parametrize("data", CRLS)
def test_crl_without_its_entries_says_the_same(data: bytes) -> None:
    """Its head is the head of the whole, and no certificate is listed."""
    smaller = without_entries(data, CrlLayout.of(data))
    assert vars(head(smaller)).keys() == vars(head(data)).keys()
    assert [one for one in vars(head(data)) if vars(head(smaller))[one] != vars(head(data))[one]] == []
    parsed, whole = x509.load_der_x509_crl(smaller), x509.load_der_x509_crl(data)
    assert (parsed.signature, parsed.signature_algorithm_oid) == (whole.signature, whole.signature_algorithm_oid)
    assert len(parsed) == 0


def test_issuer_with_lengths_that_lead_astray_is_refused() -> None:
    """It is neither verified nor parsed yet, and its server chose its bytes."""
    data = CA.crl()
    at = data.index(b"\x06\x03\x55\x04\x03")  # the attribute's type, id-at-commonName
    with pytest.raises(ValueError, match="not where it should be"):
        issuer_of(data[: at + 1] + b"\xee" + data[at + 2 :], len(data))


@pytest.mark.parametrize("version_2", [True, False])
def test_issuer_is_found_in_the_beginning_of_a_crl(version_2: bool) -> None:
    """Nothing but its name is read: not the entries, and not all of the file."""
    data = CA.crl(*range(1, 999)) if version_2 else version_1(CA.crl())
    assert issuer_of(data[:100], len(data)) == Name(CA.certificate.subject)


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x03\x02\x01\x00", CA.crl()[:30], b"x" * 99])
def test_beginning_without_an_issuer_is_refused(data: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's words
        issuer_of(data, 10_000)


def test_issuer_that_ends_beyond_the_beginning_is_refused() -> None:
    """It would be another name."""
    data = CA.crl()
    with pytest.raises(ValueError, match="does not end"):
        issuer_of(data[:30], len(data))


def test_head_whose_signature_algorithms_differ_refuses() -> None:
    """RFC 5280 section 5.1.1.2, byte for byte; the outer one is not signed."""
    data, algorithm = CA.crl(), bytes.fromhex("06082a8648ce3d040302")
    inside, _, outside = data.rpartition(algorithm)
    with pytest.raises(ValueError, match="inside and outside differ"):
        CrlLayout.of(inside + algorithm[:-1] + b"\x03" + outside)
