"""Envoy's text form: what is read, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority, Minted, chain_pem

from authz.errors import Refused
from authz.headers import DecodeCache, pem, present, xfcc
from authz.headers.xfcc import Element, parse
from authz.model import HeaderRules, PresentedChain
from authz.reasons import Reason

RULES = HeaderRules()
ROOT = Authority.root()
INTERMEDIATE = ROOT.intermediate()
ALICE = INTERMEDIATE.leaf("alice")
MALLORY = INTERMEDIATE.leaf("mallory")


def escaped(*certificates: Minted) -> str:
    """PEM as Envoy escapes it."""
    return quote(chain_pem(*certificates), safe="-")


def header(leaf: Minted = ALICE, *others: Minted, tail: str = "") -> bytes:
    """The value Envoy makes for a leaf and what was sent with it."""
    cert, chain = escaped(leaf), escaped(leaf, *others)
    return f'Hash={leaf.sha256.hex()};Cert="{cert}";Chain="{chain}"{tail}'.encode()


def test_envoys_value_gives_leaf_and_others() -> None:
    """The leaf, and the bag without it, in order."""
    (chain,) = xfcc.decode(header(ALICE, INTERMEDIATE, ROOT), RULES)
    assert chain.leaf == ALICE.der
    assert chain.intermediates == (INTERMEDIATE.der, ROOT.der)


def test_duplicates_in_the_chain_are_dropped() -> None:
    """A bag holds each certificate once."""
    (chain,) = xfcc.decode(header(ALICE, INTERMEDIATE, ALICE, INTERMEDIATE), RULES)
    assert chain.intermediates == (INTERMEDIATE.der,)


def test_present_is_what_envoy_writes() -> None:
    """Our own writer, used for decisions offline, and a copy of Envoy's agree."""
    assert present(ALICE.der, [INTERMEDIATE.der]) == header(ALICE, INTERMEDIATE)


EDITS = st.lists(
    st.tuples(st.integers(0, 3_000), st.sampled_from([b"", b"%", b"%0A", b"%2B", b"2B", b"-", b"+", b"=", b"A"])),
    max_size=2,
)


@given(EDITS, EDITS, st.booleans())
def test_chain_that_begins_with_the_leaf_is_read_as_any_other(
    leafs: list[tuple[int, bytes]], chains: list[tuple[int, bytes]], same: bool
) -> None:
    """What is decoded once, or was remembered, is what would have been decoded; whatever is put into it."""
    leaf = edited(escaped(ALICE).encode(), leafs)
    rest = edited(escaped(INTERMEDIATE, ROOT).encode(), chains)
    chain = (leaf if same else escaped(ALICE).encode()) + rest
    value = b'Cert="' + leaf + b'";Chain="' + chain + b'"'

    def plainly() -> PresentedChain:
        first, *_ = blocks = pem.certificates(pem.unescape(chain))
        if pem.certificates(pem.unescape(leaf)) != (first,):
            raise Refused(MALFORMED)
        return PresentedChain(first, tuple(dict.fromkeys(one for one in blocks if one != first)))

    def read(reader: Callable[[], PresentedChain]) -> PresentedChain | Reason:
        try:
            return reader()
        except Refused as refusal:
            return refusal.reason

    cache = DecodeCache()
    cache.intermediates.put(escaped(INTERMEDIATE, ROOT).encode(), (INTERMEDIATE.der, ROOT.der), 1)
    for above in (None, cache.intermediates):
        assert read(lambda: xfcc.decode(value, RULES, above)[0]) == read(plainly)  # noqa: B023 - called at once


def edited(text: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    """The text with something put in, or an octet taken out, at each place."""
    for at, more in edits:
        cut = at % len(text)
        text = text[:cut] + more + text[cut + (more == b"") :]
    return text


@pytest.mark.parametrize(
    ("value", "leaf"),
    [
        (f'Cert="{escaped(ALICE)}"', ALICE),
        (f'Chain="{escaped(ALICE, INTERMEDIATE)}"', ALICE),
        (f'cert="{escaped(ALICE)}";HASH={ALICE.sha256.hex()}', ALICE),
        (f'By=spiffe://a/b;Cert="{escaped(ALICE)}";Subject="CN=\\"a\\",O=b\\\\";URI=;DNS=a.example', ALICE),
    ],
)
def test_leaf_is_cert_or_the_first_of_chain(value: str, leaf: Minted) -> None:
    """Keys in any case; By, Subject, URI and DNS decide nothing."""
    assert xfcc.decode(value.encode(), RULES)[0].leaf == leaf.der


FORGED_PAIR = f';URI=spiffe://x;Cert="{escaped(MALLORY)}";Hash={MALLORY.sha256.hex()}'
FORGED_ELEMENT = f';URI=spiffe://x,Hash={MALLORY.sha256.hex()};Cert="{escaped(MALLORY)}"'
MALFORMED, AMBIGUOUS = Reason.HEADER_MALFORMED, Reason.HEADER_AMBIGUOUS


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (header(tail=FORGED_PAIR), AMBIGUOUS),
        (header(tail=f';Chain="{escaped(MALLORY)}"'), AMBIGUOUS),
        (header(tail=f";Hash={ALICE.sha256.hex()}"), AMBIGUOUS),
        (header(tail=';URI=spiffe://x"'), MALFORMED),
        (header(tail=';URI=spi"ffe://x'), MALFORMED),
        (header(tail=";URI=a\\"), MALFORMED),
        (header(tail=";URI=a\x00b"), MALFORMED),
        (header(tail=";URI=a\tb"), MALFORMED),
        (header() + b";URI=\xff", MALFORMED),
        (header(tail=";Evil=1"), MALFORMED),
        (header(tail=";"), MALFORMED),
        (header(tail=","), MALFORMED),
        (header(tail=";URI"), MALFORMED),
        (header(tail=";URI=a, URI=b"), MALFORMED),
        (b"", MALFORMED),
        (b",", MALFORMED),
        (b"Hash=00", MALFORMED),
        (f"Hash={ALICE.sha256.hex()}".encode(), Reason.HEADER_WITHOUT_CERTIFICATE),
        (f'Hash={ALICE.sha256.hex().upper()};Cert="{escaped(ALICE)}"'.encode(), MALFORMED),
        (f'Hash=;Cert="{escaped(ALICE)}"'.encode(), MALFORMED),
        (f'Hash={MALLORY.sha256.hex()};Cert="{escaped(ALICE)}"'.encode(), Reason.HEADER_HASH_MISMATCH),
        (f'Cert="{escaped(ALICE)}";Chain="{escaped(MALLORY, ALICE)}"'.encode(), MALFORMED),
        (f'Cert="{escaped(ALICE, MALLORY)}"'.encode(), MALFORMED),
        (f'Cert="{escaped(ALICE, MALLORY)}";Chain="{escaped(ALICE, MALLORY)}"'.encode(), MALFORMED),
        (f'Cert="{escaped(ALICE)}";Chain="{escaped(ALICE)}x"'.encode(), MALFORMED),
        (f'Cert="{escaped(ALICE)}";Chain="{escaped(ALICE)}{"A" * 9_000}"'.encode(), MALFORMED),
        (f"Cert={escaped(ALICE)}".encode(), MALFORMED),
        (b'Cert=""', MALFORMED),
        (b'Cert="";Chain=""', MALFORMED),
        (f'Cert="{escaped(ALICE)}%41"'.encode(), MALFORMED),
        (f'Cert="{escaped(ALICE)}%"'.encode(), MALFORMED),
        (f'Cert="{escaped(ALICE).replace("%0A", "%0D%0A")}"'.encode(), MALFORMED),
        (f'Cert="{escaped(ALICE).replace("%2B", "%2b")}x"'.encode(), MALFORMED),
        (f'Cert="text{escaped(ALICE)}"'.encode(), MALFORMED),
        (f'Cert="{escaped(ALICE).replace("CERTIFICATE", "PRIVATE KEY")}"'.encode(), MALFORMED),
        (f'Hash={ALICE.sha256.hex()};"Cert"="{escaped(ALICE)}"'.encode(), MALFORMED),
        (b",".join([header()] * 17), Reason.HEADER_ELEMENTS_UNEXPECTED),
    ],
)
def test_hostile_value_is_refused(value: bytes, reason: Reason) -> None:
    """Forged pairs and elements, stray quotes, foreign octets, other encodings: each has its reason."""
    with pytest.raises(Refused) as caught:
        xfcc.decode(value, RULES)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("tail", "details"),
    [
        (";URI=spiffe://x;y", "uri"),
        (';URI=spi"ffe://x', "uri"),
        (";URI=spiffe://x,y=z", "uri"),
        (";URI=\xe9", "uri"),
        (";DNS=a.test;b", "dns"),
        (";DNS=a\\b", "dns"),
        (';Subject="CN="a""', "subject"),
        (';Subject="CN=a', "subject"),
        (";Subject=CN=a", "subject"),
        (";uri=a;DNS=b,c", "dns"),
        (FORGED_PAIR, "uri"),
        (";URI=spiffe://x,DNS=b", "uri, dns"),
    ],
)
def test_name_that_makes_the_header_unreadable_is_named_with_its_setting(tail: str, details: str) -> None:
    """Beside a good Cert, Chain and Hash: what the client's name did, and what to take out in the proxy."""
    with pytest.raises(Refused) as caught:
        xfcc.decode(header().decode().encode("latin-1") + tail.encode("latin-1"), RULES)
    assert caught.value.detail.endswith(f"take {details} out of set_current_client_cert_details")
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("value", [b"Evil=1", b"Hash=1;x", b"By=a;b;URI", b'Cert="', b'Hash=1;Hash=2;Cert="a"'])
def test_fault_that_no_name_caused_blames_none(value: bytes) -> None:
    """The proxy's settings of names are not at fault."""
    with pytest.raises(Refused) as caught:
        xfcc.decode(value, RULES)
    assert "set_current_client_cert_details" not in caught.value.detail


@pytest.mark.parametrize("subject", ['CN=\\"a\\"', "CN=a\\, b\\; c", "CN=a, O=b; c='d'"])
def test_subject_that_is_escaped_is_read(subject: str) -> None:
    """Istio's default: quotes are escaped, commas and semicolons stand between quotes."""
    tail = f';Subject="{subject}";URI=spiffe://a/b;DNS=a.test'
    assert xfcc.decode(header(tail=tail), RULES)[0].leaf == ALICE.der


def test_forged_element_is_an_element_more() -> None:
    """A comma in a URI makes a second element, which the caller counts and refuses."""
    assert [one.leaf for one in xfcc.decode(header(tail=FORGED_ELEMENT), RULES)] == [ALICE.der, MALLORY.der]


@pytest.mark.parametrize(("count", "good"), [(9, True), (10, False)])
def test_more_than_ten_certificates_are_refused(count: int, good: bool) -> None:
    """The leaf and nine others; duplicates are not counted."""
    others = [ROOT.leaf(f"x{number}") for number in range(count)]
    value = header(ALICE, *others, *others[:2])
    if good:
        assert len(xfcc.decode(value, RULES)[0].intermediates) == count
        return
    with pytest.raises(Refused) as caught:
        xfcc.decode(value, RULES)
    assert caught.value.reason is Reason.TOO_MANY_CERTIFICATES


BARE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='",;\\'))
QUOTED = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
PAIR = st.one_of(
    st.tuples(st.sampled_from(["By", "Hash", "URI", "DNS"]), BARE.map(str.encode)),
    st.tuples(st.sampled_from(["Cert", "Chain", "Subject", "Issuer"]), QUOTED.map(str.encode)),
)
ELEMENTS = st.lists(
    st.lists(PAIR, min_size=1, max_size=6).map(lambda pairs: Element(tuple(pairs))), min_size=1, max_size=5
)


@given(ELEMENTS.map(tuple))
def test_format_then_parse_is_identity(elements: tuple[Element, ...]) -> None:
    """What is written is what is read."""
    assert parse(xfcc.format(elements)) == elements


@given(st.binary(max_size=200))
def test_parse_of_any_octets_is_elements_or_refused(value: bytes) -> None:
    """Nothing else comes of any octets, and what is read is written back the same way."""
    try:
        elements = parse(value)
    except Refused:
        return
    assert parse(xfcc.format(elements)) == elements


@given(st.lists(st.sampled_from([b"\\\\", b'\\"', b"\\a", b"a", b"=", b",", b";"])))
def test_escapes_are_read_from_the_left(parts: list[bytes]) -> None:
    """However many backslashes stand in a row."""
    text = b"".join(parts)
    (element,) = parse(b'Subject="' + text + b'"')
    assert element.pairs[0][1] == re.sub(rb"\\(.)", rb"\1", text)


def test_certificate_of_many_names_is_read() -> None:
    """Each is a pair, of which there may be more than there are users."""
    names = b";DNS=a.test" * (xfcc.MAX_PAIRS - 1)
    most = f'Cert="{escaped(ALICE)}"'.encode() + names
    assert xfcc.decode(most, RULES)[0].leaf == ALICE.der


@pytest.mark.parametrize("joint", [b";", b",By=;"])
def test_header_of_more_pairs_is_not_read_to_its_end(joint: bytes) -> None:
    """Whatever elements they are in, and whatever follows."""
    pairs = joint.join([b";".join([b"By="] * (xfcc.MAX_PAIRS // 2))] * 2)
    for rest in (b";By=", b',By="', b";By=" * 9_000):
        with pytest.raises(Refused) as caught:
            parse(pairs + rest)
        assert caught.value.reason is Reason.HEADER_TOO_LARGE
