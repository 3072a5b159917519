"""Bare base64 of DER: what is read, and what is refused."""

from __future__ import annotations

from base64 import b64decode, b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority, Minted

from authz.errors import Refused
from authz.headers import Selected, base64_der, decode, pem
from authz.model import CertificateForm, HeaderRules
from authz.reasons import Reason

RULES = HeaderRules("x-forwarded-tls-client-cert", CertificateForm.BASE64_DER)
ROOT = Authority.root()
CA = ROOT.intermediate()
ALICE = CA.leaf("alice")
TEXT = b64encode(ALICE.der)


def traefik(*certificates: Minted) -> bytes:
    """As Traefik 3 makes it: PEM without delimiters and line ends, joined by commas."""
    marks = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----", "\n")
    texts = [one.pem for one in certificates]
    for mark in marks:
        texts = [text.replace(mark, "") for text in texts]
    return ",".join(texts).encode()


def test_traefiks_value_gives_leaf_and_others() -> None:
    """In the order the client sent them."""
    (chain,) = decode(Selected(traefik(ALICE, CA, ROOT)), RULES)
    assert (chain.leaf, chain.intermediates) == (ALICE.der, (CA.der, ROOT.der))


def test_leaf_alone_is_one_certificate() -> None:
    """As Caddy and Azure hand it over."""
    (chain,) = decode(Selected(TEXT), RULES)
    assert (chain.leaf, chain.intermediates) == (ALICE.der, ())


def test_list_that_is_escaped_is_the_same() -> None:
    """As Traefik 2 wrote it, commas and all, in either case."""
    for escaped in (quote(traefik(ALICE, CA), safe=""), quote(traefik(ALICE, CA), safe=",").replace("%2B", "%2b")):
        (chain,) = decode(Selected(escaped.encode()), RULES)
        assert (chain.leaf, chain.intermediates) == (ALICE.der, (CA.der,))


def test_certificates_behind_the_leaf_may_be_one_value() -> None:
    """As HAProxy's ssl_c_chain_der has them."""
    (chain,) = decode(Selected(TEXT + b"," + b64encode(CA.der + ROOT.der)), RULES)
    assert (chain.leaf, chain.intermediates) == (ALICE.der, (CA.der, ROOT.der))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b",",
        TEXT + b",",
        b"," + TEXT,
        TEXT + b",," + TEXT,
        TEXT + b", " + TEXT,
        TEXT + b" ",
        TEXT + b"=",
        TEXT[:64] + b"\n" + TEXT[64:],
        TEXT + b"%3D",
        TEXT.replace(b"A", b"%41"),
        TEXT + b"%252C" + TEXT,
        TEXT + b"%2C%20" + TEXT,
        TEXT + b"%0A",
        b64encode(ALICE.der + CA.der),
        urlsafe_b64encode(ALICE.der + b"\xff\xff\xff"),
        b":" + TEXT + b":",
        ALICE.pem.encode(),
        b"\xff",
        b"\x00" + TEXT,
        b"MAB=",
        b"AAAA",
        b"," * 60_000,
        b"A" * 60_001,
    ],
)
def test_hostile_value_is_refused(value: bytes) -> None:
    """Empty members, white space, escapes, other alphabets, other forms."""
    with pytest.raises(Refused) as caught:
        decode(Selected(value), RULES)
    assert caught.value.reason is Reason.HEADER_MALFORMED


def test_list_of_more_items_than_a_header_can_hold_is_not_decoded() -> None:
    """Were they all the same."""
    with pytest.raises(Refused) as caught:
        decode(Selected(b",".join([TEXT, *[b"MAA="] * 257, b"not read"])), RULES)
    assert caught.value.reason is Reason.TOO_MANY_CERTIFICATES


def test_more_than_ten_certificates_are_refused() -> None:
    """As everywhere."""
    with pytest.raises(Refused) as caught:
        decode(Selected(traefik(*(ROOT.leaf(f"x{number}") for number in range(11)))), RULES)
    assert caught.value.reason is Reason.TOO_MANY_CERTIFICATES


DER = st.binary(max_size=120).map(lambda octets: bytes([0x30, len(octets)]) + octets)


@given(st.lists(DER, min_size=1, max_size=4).map(tuple))
def test_format_then_parse_is_identity(ders: tuple[bytes, ...]) -> None:
    """What is written is what is read."""
    assert base64_der.parse(base64_der.format(ders)) == ders


@given(st.one_of(st.binary(max_size=100), st.text(alphabet="MABCQ=,", max_size=60).map(str.encode)))
def test_any_octets_are_refused_or_written_back_alike(octets: bytes) -> None:
    """A header value has one reading, and the DER in it one spelling."""
    try:
        found = base64_der.parse(octets)
    except Refused:
        return
    octets = pem.unescape_any(octets)
    assert b"".join(found) == b"".join(map(b64decode, octets.split(b",")))
    assert all(b64encode(b64decode(text)) == text for text in octets.split(b","))
