"""Extensions that are recalled say what the library would have read; anything odd is left to it."""

from __future__ import annotations

import os
import random

import pytest
from cryptography import x509
from support.cached_extensions import compare, field_of
from support.certificates import Authority, Minted, san
from support.mutants import change
from support.outcomes import parsed
from support.raw_der import handmade, raw_name, sequence, tlv
from support.tampered import signed_again

from authz.errors import Refused
from authz.pki.cache import Cache, alone
from authz.pki.cache.extensions import MAX_LISTS, MAX_OCTETS, KnownIssuer, get_extensions, put_extensions, shared_part
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.extensions import Extensions

ROOT = Authority.root("Root")
KEY_ID = x509.SubjectKeyIdentifier.from_public_key(ROOT.key.public_key())  # type: ignore[arg-type]
NAMES = san("a.example.test", x509.RFC822Name("a@example.test"), x509.UniformResourceIdentifier("spiffe://a/b"))
LEAF = ROOT.leaf(extensions=[(KEY_ID, False), (NAMES, False)])


def field(*extensions: bytes) -> bytes:
    """An extensions field of these extensions."""
    return tlv(0xA3, sequence(*extensions))


def extension(oid: str, value: bytes) -> bytes:
    """An extension that is not critical."""
    return sequence(tlv(0x06, bytes.fromhex(oid)), tlv(0x04, value))


def key_id(value: bytes) -> bytes:
    """A subject key identifier."""
    return extension("551d0e", value)


def names(value: bytes) -> bytes:
    """Subject alternative names."""
    return extension("551d11", value)


OTHER = extension("551d25", b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02")
GOOD_ID, GOOD_NAMES = key_id(tlv(0x04, b"k" * 20)), names(sequence(tlv(0x82, b"a.test")))


def test_key_identifier_and_names_are_not_part_of_what_is_shared() -> None:
    """They differ from leaf to leaf."""
    bare = ROOT.leaf("x y", without=[x509.SubjectAlternativeName])
    assert shared_part(field_of(LEAF.der)) == shared_part(field_of(bare.der))
    assert shared_part(field(GOOD_ID, OTHER, GOOD_NAMES)) == OTHER
    large = extension("551d20", bytes(300))
    assert shared_part(field(GOOD_NAMES, large)) == large


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"\xa1\x02\x07\x00" + field(OTHER),
        field(GOOD_ID, OTHER, GOOD_ID),
        field(GOOD_NAMES, GOOD_NAMES),
        field(key_id(b"k" * 20)),
        field(key_id(tlv(0x05, b"k" * 20))),
        field(key_id(tlv(0x04, b"k" * 20) + b"x")),
        field(key_id(tlv(0x04, b"k" * 126))),
        field(key_id(b"")),
        field(sequence(tlv(0x06, bytes.fromhex("551d0e")), b"\x01\x01\xff", tlv(0x04, tlv(0x04, b"k" * 20)))),
        field(sequence(tlv(0x06, bytes.fromhex("551d11")), b"\x01\x01\xff", tlv(0x04, sequence(tlv(0x82, b"a.test"))))),
        field(names(b"")),
        field(names(sequence())),
        field(names(tlv(0x31, tlv(0x82, b"a.test")))),
        field(names(sequence(tlv(0x82, b"")))),
        field(names(sequence(tlv(0x82, b"a.\xe9")))),
        field(names(sequence(tlv(0x87, b"\x7f\0\0\1")))),
        field(names(sequence(tlv(0x82, b"a.test")) + b"\0")),
        field(names(b"\x30\x81\x08\x82\x06a.test")),
        field(names(b"\x30\x08\x82\x07a.test")),
    ],
)  # fmt: skip
def test_anything_but_the_plainest_form_is_left_to_the_library(odd: bytes) -> None:
    """Twice, in another form, of another kind, in other lengths than DER has."""
    assert shared_part(odd) is None
    known = {OTHER: Extensions(), b"": Extensions()}
    assert get_extensions(odd, known) is None
    put_extensions(odd, Extensions(), None, known)
    assert len(known) == 2


def test_list_that_was_not_met_is_not_recalled() -> None:
    """Only its octets say that it is the same."""
    known: dict[bytes, Extensions] = {}
    put_extensions(field_of(LEAF.der), parsed(LEAF)[0].extensions, None, known)
    assert get_extensions(field_of(LEAF.der), known) is not None
    assert get_extensions(field_of(ROOT.leaf(without=[x509.KeyUsage]).der), known) is None


def test_lists_are_bounded_in_number_and_octets() -> None:
    """Beyond, the library reads each time."""
    known: dict[bytes, Extensions] = {}
    put_extensions(field(extension("551d25", b"x" * MAX_OCTETS)), Extensions(), None, known)
    assert not known
    for number in range(MAX_LISTS + 9):
        put_extensions(field(extension("551d25", b"%d" % number)), Extensions(), None, known)
    assert len(known) == MAX_LISTS


def test_same_extensions_in_version_1_are_refused_all_the_same() -> None:
    """Versions 1 and 2 have none."""
    issuers: Cache[bytes, KnownIssuer] = Cache(alone())
    (leaf,) = parsed(LEAF)
    leaf.introduce_issuer(issuers)
    old = handmade(
        ROOT.key,  # type: ignore[arg-type]
        issuer=leaf._layout.issuer,
        subject=raw_name(b"x"),
        version=b"",
        extensions=field_of(LEAF.der),
    )
    with pytest.raises(Refused):
        Certificate.parse(old, issuers).extensions  # noqa: B018
    same = Certificate.parse(LEAF.der, issuers)
    assert same.extensions.recalled
    assert (same.alternative_names, same.subject_key_id) == (tuple(NAMES), KEY_ID.digest)


@pytest.mark.fuzz
def test_mutants_are_recalled_as_the_library_reads_them() -> None:
    """One element changed at a time, all mutants learned from one another."""
    drawn = random.Random(7)
    seeds: list[Minted] = [LEAF, ROOT.leaf("a"), ROOT.leaf(extensions=[(NAMES, True)]), ROOT.intermediate()]
    mutants = [mutant(drawn, drawn.choice(seeds)) for _ in range(2_000 * int(os.environ.get("FUZZ", "1")))]
    assert compare([*(one.der for one in seeds), *mutants]) > 100


def mutant(drawn: random.Random, seed: Minted) -> bytes:
    """A certificate with something changed in what is signed, and signed again."""
    return signed_again(seed.der, ROOT, lambda tree: change(drawn, tree))
