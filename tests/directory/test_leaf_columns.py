"""What the columns of a registered certificate say is what its DER says."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from support.certificates import Authority

from authz.directory.leaf_columns import leaf_columns, read_columns, read_values, serial_bytes, serial_number
from authz.pki import Certificate
from authz.pki.cache.extensions import KnownIssuer
from authz.pki.cache.shared import Cache, alone

CA = Authority.root().intermediate()
LEAF = Certificate.parse(CA.leaf("alice").der)


def test_columns_are_those_of_the_certificate() -> None:
    """Digests, dates, issuer and serial number."""
    columns = leaf_columns(LEAF, CA.der)
    parsed = LEAF.x509
    assert columns == {
        "sha256": LEAF.sha256,
        "der": LEAF.der,
        "chain": CA.der,
        "tbs_sha256": hashlib.sha256(parsed.tbs_certificate_bytes).digest(),
        "spki_sha256": LEAF.spki_sha256,
        "not_before": parsed.not_valid_before_utc,
        "not_after": parsed.not_valid_after_utc,
        "issuer": parsed.issuer.public_bytes(),
        "serial": serial_bytes(parsed.serial_number),
        "authority_key_id": LEAF.extensions.authority_key_id,
        "chain_sha256": hashlib.sha256(CA.der).digest(),
    }


def test_columns_are_the_same_where_the_issuer_was_read_before() -> None:
    """Of leaves that share extensions with one before, and of those that do not."""
    issuers: Cache[bytes, KnownIssuer] = Cache(alone())
    LEAF.introduce_issuer(issuers)
    for leaf in (
        CA.leaf("bob"),
        CA.leaf("carol", without=[x509.AuthorityKeyIdentifier]),
        Authority.root().leaf("dave"),
    ):
        assert read_values(Certificate.parse(leaf.der, issuers)) == read_values(Certificate.parse(leaf.der))


@pytest.mark.parametrize("der", [b"", b"0", LEAF.der[:-1], LEAF.der + b"0"])
def test_leaf_that_cannot_be_read_has_none(der: bytes) -> None:
    """The chain beside it has its digest all the same."""
    columns = read_columns(der, CA.der)
    assert {name for name, value in columns.items() if value is not None} == {"chain_sha256"}


def test_empty_chain_has_no_digest() -> None:
    """Nothing looks it up."""
    assert read_columns(LEAF.der, b"")["chain_sha256"] is None


@pytest.mark.parametrize("serial", [0, 1, 127, 128, 255, 256, -1, -128, -129, 2**159 - 1, 2**159])
def test_serial_number_comes_back(serial: int) -> None:
    """Of any sign and length."""
    assert serial_number(serial_bytes(serial)) == serial
