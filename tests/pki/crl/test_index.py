"""Looking certificates up in CRLs."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from support.certificates import name

from authz.pki.crl.index import CrlIndex, IndirectIndex, RevokedEntry, SerialIndex
from authz.pki.x509.distinguished_name import Name

HERE, THERE = Name(name("Here")), Name(name("There"))


def indexes(*entries: tuple[int, int | None]) -> list[CrlIndex]:
    """The same entries of one issuer in each structure."""
    return [SerialIndex(HERE, entries), IndirectIndex((HERE, *one) for one in entries)]


@pytest.mark.parametrize("index", indexes((5, None), (6, 1), (-7, 6)))
@pytest.mark.parametrize(
    ("serial", "expected"), [(5, RevokedEntry()), (6, RevokedEntry(1)), (-7, RevokedEntry(6)), (8, None)]
)
def test_index_finds_what_is_listed(index: CrlIndex, serial: int, expected: RevokedEntry | None) -> None:
    """A serial number is found with its reason, and one that is not listed is not."""
    assert index.find(serial, HERE) == expected


@pytest.mark.parametrize("index", indexes((5, None)))
def test_index_of_another_issuer_finds_nothing(index: CrlIndex) -> None:
    """The same serial number of another issuer is another certificate."""
    assert index.find(5, THERE) is None


@pytest.mark.parametrize("index", indexes((5, None)))
def test_index_compares_issuers_as_names(index: CrlIndex) -> None:
    """An issuer is found however its name is written (RFC 5280 section 7.1)."""
    spelled = Name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, " hERE ")]))
    assert index.find(5, spelled) == RevokedEntry()


@pytest.mark.parametrize("index", [*indexes((5, 1), (5, 8)), *indexes((5, 8), (5, 1))])
def test_index_with_two_entries_for_one_keeps_the_listing(index: CrlIndex) -> None:
    """Of two entries the one that does not remove the certificate counts, whichever comes first."""
    assert index.find(5, HERE) == RevokedEntry(1)


@pytest.mark.parametrize("index", indexes((5, 1), (5, 4), (6, None)))
def test_index_counts_certificates(index: CrlIndex) -> None:
    """Its length is the number of certificates listed."""
    assert len(index) == 2


def test_listed_removes_by_its_code_alone() -> None:
    """Only removeFromCRL takes a certificate off the list."""
    assert [code for code in range(12) if RevokedEntry(code).removes] == [8]
    assert not RevokedEntry().removes
