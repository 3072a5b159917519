"""Client-Cert and Client-Cert-Chain: what is read, and what is refused."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority

from authz.errors import Refused
from authz.headers import decode, rfc9440, select
from authz.model import CertificateForm, CheckRequest, HeaderRules
from authz.reasons import Reason

RULES = HeaderRules("client-cert", CertificateForm.RFC9440, "client-cert-chain")
ROOT = Authority.root()
CA = ROOT.intermediate()
ALICE = CA.leaf("alice")
TEXT = b64encode(ALICE.der)
SPARE = b64encode(b"0\x02\x05\x00")
MALFORMED, AMBIGUOUS = Reason.HEADER_MALFORMED, Reason.HEADER_AMBIGUOUS


def sequence(*ders: bytes) -> bytes:
    """Byte sequences, as RFC 8941 section 4.1 writes a list."""
    return b", ".join(b":" + b64encode(der) + b":" for der in ders)


def outcome(*headers: tuple[bytes, bytes]) -> tuple[bytes, tuple[bytes, ...]] | Reason | None:
    """The leaf and the others, the reason of the refusal, or None where there is no certificate header."""
    try:
        selected = select(CheckRequest("", "", headers), RULES)
        if selected is None:
            return None
        (chain,) = decode(selected, RULES)
    except Refused as refused:
        return refused.reason
    return chain.leaf, chain.intermediates


def certificate(value: bytes) -> object:
    """What comes of a Client-Cert alone."""
    return outcome((b"client-cert", value))


def chain(value: bytes) -> object:
    """What comes of a Client-Cert-Chain beside alice's certificate."""
    return outcome((b"client-cert", sequence(ALICE.der)), (b"client-cert-chain", value))


def test_leaf_and_chain_are_read() -> None:
    """Each from its header; the chain does not repeat the leaf (section 2.3)."""
    assert certificate(sequence(ALICE.der)) == (ALICE.der, ())
    assert chain(sequence(CA.der, ROOT.der)) == (ALICE.der, (CA.der, ROOT.der))


def test_neither_header_is_no_certificate() -> None:
    """What silence means is the statement's to say."""
    assert outcome((b"host", b"a")) is None


@pytest.mark.parametrize("separator", [b",", b", ", b"\t, \t"])
def test_white_space_around_a_comma_is_free(separator: bytes) -> None:
    """RFC 8941 section 4.2.1."""
    assert chain(separator.join([sequence(CA.der), sequence(ROOT.der)])) == (ALICE.der, (CA.der, ROOT.der))


def test_list_is_empty_is_a_leaf_alone() -> None:
    """RFC 8941 section 4.2.1: an empty list, of a proxy that always sets the header."""
    assert chain(b"") == (ALICE.der, ())


def test_leaf_repeated_in_the_chain_is_dropped() -> None:
    """The chain is a bag, wherever the leaf stands in it."""
    assert chain(sequence(CA.der, ALICE.der, CA.der)) == (ALICE.der, (CA.der,))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b":",
        b"::",
        b":" + TEXT,
        TEXT + b":",
        TEXT,
        b'"' + TEXT + b'"',
        b":" + TEXT + b":;a=1",
        b":" + TEXT + b":;a",
        b"(:" + TEXT + b":)",
        b":" + TEXT + b":, :" + TEXT + b":",
        b":" + TEXT + b"::" + TEXT + b":",
        b": " + TEXT + b":",
        b":" + TEXT[:40] + b"\n" + TEXT[40:] + b":",
        b":" + TEXT[:40] + b"=" + TEXT[40:] + b":",
        b":" + TEXT.rstrip(b"=") + b":x",
        b":" + TEXT.replace(b"+", b"-").replace(b"/", b"_") + b"-:",
        b":" + SPARE.rstrip(b"=") + b":",
        b":" + SPARE + b"=:",
        b":MAIFAB==:",
        b":AAAA:",
        b":MIIA:",
        b"\xff" + sequence(ALICE.der),
        sequence(ALICE.der) + b"\x00",
        b"-----BEGIN%20CERTIFICATE-----",
        b"?1",
    ],
)
def test_hostile_certificate_is_refused(value: bytes) -> None:
    """Other structured types, parameters, inner lists, missing or doubled colons, base64 in other spellings."""
    assert certificate(value) is MALFORMED
    if value and value != sequence(ALICE.der, ALICE.der):
        assert chain(value) is MALFORMED


@pytest.mark.parametrize("tail", [b",", b", ", b",,", b";a", b", a", b", ::", b" :" + TEXT + b":", b", \x0b:MAA=:"])
def test_hostile_end_of_a_list_is_refused(tail: bytes) -> None:
    """RFC 8941 section 4.2.1: a trailing comma is an error."""
    assert chain(sequence(CA.der) + tail) is MALFORMED


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([b"client-cert", b"client-cert"], AMBIGUOUS),
        ([b"client-cert", b"client-cert-chain", b"client-cert-chain"], AMBIGUOUS),
        ([b"client-cert", b"client_cert"], Reason.HEADER_UNEXPECTED),
        ([b"client-cert", b"client_cert_chain"], Reason.HEADER_UNEXPECTED),
        ([b"client-cert", b"x-forwarded-client-cert"], Reason.HEADER_UNEXPECTED),
        ([b"client-cert-chain"], Reason.HEADER_WITHOUT_CERTIFICATE),
    ],
)
def test_header_twice_or_beside_another_is_refused(headers: list[bytes], reason: Reason) -> None:
    """Also a list on two lines, which RFC 8941 section 4.2 would join."""
    assert outcome(*((name, sequence(ALICE.der)) for name in headers)) is reason


def test_chain_of_more_items_than_a_header_can_hold_is_not_decoded() -> None:
    """Were they all the same."""
    with pytest.raises(Refused) as caught:
        rfc9440.parse_chain(b",".join([b":MAA=:"] * 257 + [b"not read"]))
    assert caught.value.reason is Reason.TOO_MANY_CERTIFICATES


def test_both_headers_together_are_limited() -> None:
    """64 KB of both, and ten certificates."""
    assert chain(sequence(CA.der) * 200) is Reason.HEADER_TOO_LARGE
    assert chain(sequence(*(b"0\x01" + bytes([one]) for one in range(9)))) != Reason.TOO_MANY_CERTIFICATES
    assert chain(sequence(*(b"0\x01" + bytes([one]) for one in range(10)))) is Reason.TOO_MANY_CERTIFICATES


def test_long_run_of_white_space_is_read_once() -> None:
    """The work does not grow with the square of the header."""
    assert chain(b" " * 60_000) is MALFORMED
    assert chain(b", " * 30_000) is MALFORMED


DER = st.binary(max_size=120).map(lambda octets: bytes([0x30, len(octets)]) + octets)


@given(DER, st.lists(DER, max_size=5).map(tuple))
def test_format_then_parse_is_identity(leaf: bytes, others: tuple[bytes, ...]) -> None:
    """What is written is what is read."""
    assert rfc9440.parse_certificate(rfc9440.format_certificate(leaf)) == leaf
    assert rfc9440.parse_chain(rfc9440.format_chain(others)) == others


@given(st.one_of(st.binary(max_size=100), st.text(alphabet=":, \tMABCQ=;", max_size=60).map(str.encode)))
def test_any_octets_are_refused_or_written_back_alike(octets: bytes) -> None:
    """DER has one spelling, in however many members; a list too, but for the white space."""
    try:
        found = rfc9440.parse_chain(octets)
    except Refused:
        return
    members = octets.replace(b" ", b"").replace(b"\t", b"").split(b",") if octets else []
    ders = [b64decode(member.strip(b":")) for member in members]
    assert b"".join(found) == b"".join(ders)
    assert [b":" + b64encode(der) + b":" for der in ders] == members
