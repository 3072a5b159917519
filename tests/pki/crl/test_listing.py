"""Whom a CRL lists."""

from __future__ import annotations

import pytest
from cryptography import x509
from support.certificates import Authority, entry, name

from authz.pki.crl.header import CrlHead, Layout
from authz.pki.crl.listing import MAX_ISSUERS, Listing
from authz.pki.x509.distinguished_name import Name

CA = Authority.root("CA")
ISSUER, OTHER = Name(name("CA")), Name(name("Other"))
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
INDIRECT = [(x509.IssuingDistributionPoint(None, None, False, False, None, True, False), True)]


def listing(data: bytes, *, v1: bool = False) -> Listing:
    """The listing of a CRL in DER."""
    parsed, layout = x509.load_der_x509_crl(data), Layout.of(data)
    head = CrlHead(parsed, v1=layout.v1)
    head.v1 = v1
    return Listing(data, parsed, head, layout)


def test_direct_entries_are_of_the_crl_issuer() -> None:
    """Serial numbers as they stand, reasons where there are any."""
    data = CA.crl(5, entry(200, reason=x509.ReasonFlags.certificate_hold))
    assert list(listing(data)) == [(ISSUER, b"\x05", None), (ISSUER, b"\x00\xc8", 6)]


def test_indirect_entries_are_of_the_issuer_named_last() -> None:
    """RFC 5280 section 5.3.3: the first ones are the CRL issuer's own."""
    named = entry(2, issuer=name("Other")), entry(4, issuer=name("Other"))
    data = CA.crl(1, named[0], 3, named[1], entry(5, issuer=name("CA")), extensions=INDIRECT)
    issuers = [ISSUER, OTHER, OTHER, OTHER, ISSUER]
    assert list(listing(data)) == [(one, bytes([at]), None) for at, one in enumerate(issuers, 1)]


def test_indirect_entries_of_many_issuers_are_all_read() -> None:
    """Also of more issuers than are kept."""
    names = [name(f"Other {number}") for number in range(MAX_ISSUERS + 2)]
    data = CA.crl(*(entry(1, issuer=one) for one in names), extensions=INDIRECT)
    assert [issuer for issuer, _, _ in listing(data)] == list(map(Name, names))


def test_direct_entry_that_names_an_issuer_refuses() -> None:
    """Only an indirect CRL has entries of others."""
    with pytest.raises(ValueError, match="not indirect"):
        list(listing(CA.crl(entry(1, issuer=name("Other")))))


def test_entry_of_two_issuers_refuses() -> None:
    """A certificate has one."""
    names = x509.CertificateIssuer([x509.DirectoryName(name("A")), x509.DirectoryName(name("B"))])
    with pytest.raises(ValueError, match="one directory name"):
        list(listing(CA.crl(entry(1, extensions=[(names, True)]), extensions=INDIRECT)))


def test_entry_with_extensions_in_version_1_refuses() -> None:
    """RFC 5280 section 5.1.2.1."""
    with pytest.raises(ValueError, match="version 1"):
        list(listing(CA.crl(5, reason=x509.ReasonFlags.superseded), v1=True))


@pytest.mark.parametrize("extensions", [[], INDIRECT])
def test_entry_with_an_unknown_critical_extension_is_told(extensions: list[tuple[x509.ExtensionType, bool]]) -> None:
    """The CRL proves nobody good, and what it lists is listed (RFC 5280 section 5.3)."""
    walked = listing(CA.crl(entry(5, extensions=[(UNKNOWN, True)]), 6, extensions=extensions))
    assert len(list(walked)) == 2
    assert walked.unusable == "critical extension 1.2.3.4 of an entry"


def test_listing_without_anything_unknown_says_what_the_head_says() -> None:
    """That is, why the CRL's own extensions make it unusable."""
    walked = listing(CA.crl(5, extensions=[(UNKNOWN, True)]))
    assert len(list(walked)) == 1
    assert walked.unusable == "critical extension 1.2.3.4"
