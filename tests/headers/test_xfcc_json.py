"""Envoy's JSON form: the same rules as the text form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority, Minted

from authz.errors import Refused
from authz.headers import Selected, decode, xfcc_json
from authz.model import CertificateForm, HeaderRules
from authz.reasons import Reason

RULES = HeaderRules(form=CertificateForm.XFCC_JSON)
ROOT = Authority.root()
CA = ROOT.intermediate()
ALICE, MALLORY = CA.leaf("alice"), CA.leaf("mallory")
MALFORMED, AMBIGUOUS = Reason.HEADER_MALFORMED, Reason.HEADER_AMBIGUOUS


def element(leaf: Minted = ALICE, *others: Minted, **more: Any) -> dict[str, Any]:
    """An element as Envoy makes it."""
    chain = [leaf.pem, *(one.pem for one in others)]
    return {"hash": leaf.sha256.hex(), "cert": leaf.pem, "chain": chain, "subject": "CN=x", **more}


def value(*elements: Any) -> bytes:
    """The header's value."""
    return json.dumps(elements).encode()


def test_envoys_value_gives_leaf_and_others() -> None:
    """Through the form that is configured."""
    (chain,) = decode(Selected(value(element(ALICE, CA, ROOT))), RULES)
    assert (chain.leaf, chain.intermediates) == (ALICE.der, (CA.der, ROOT.der))


def test_names_in_it_decide_nothing() -> None:
    """Quoted by the proxy, whatever they hold."""
    hostile = 'spiffe://x","cert":"INJECTED"}],[[[[{{{{'
    assert xfcc_json.decode(value(element(uri=[hostile], dns=["a"], by=["b"], issuer="i")), RULES)[0].leaf == ALICE.der


@pytest.mark.parametrize("keep", [("cert",), ("chain",), ("cert", "hash")])
def test_leaf_is_cert_or_the_first_of_chain(keep: tuple[str, ...]) -> None:
    """Whatever Envoy was asked for."""
    part = {key: one for key, one in element(ALICE, CA).items() if key in keep}
    assert xfcc_json.decode(value(part), RULES)[0].leaf == ALICE.der


TWICE = value(element())[:-2]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", MALFORMED),
        (b"[]", MALFORMED),
        (b"{}", MALFORMED),
        (b"[1]", MALFORMED),
        (b"[,{}]", MALFORMED),
        (b"[{}", MALFORMED),
        (b"[{}]x", MALFORMED),
        (b"\xff", MALFORMED),
        (b"[{}]", Reason.HEADER_WITHOUT_CERTIFICATE),
        (value({"hash": ALICE.sha256.hex()}), Reason.HEADER_WITHOUT_CERTIFICATE),
        (value(element(evil=1)), MALFORMED),
        (value(element(cert=1)), MALFORMED),
        (value(element(cert=None)), MALFORMED),
        (value(element(chain="x")), MALFORMED),
        (value(element(chain=[1])), MALFORMED),
        (value(element(hash=1)), MALFORMED),
        (value(element(hash="00")), MALFORMED),
        (value(element(hash="é" * 32)), MALFORMED),
        (value(element(hash="\ud800" * 64)), MALFORMED),
        (value(element(cert=ALICE.pem + "\ud800")), MALFORMED),
        (value(element(chain=[ALICE.pem, "\udfff"])), MALFORMED),
        (value(element(**{"\ud800": "x"})), MALFORMED),
        (value(element(subject=["x"])), MALFORMED),
        (value(element(cert=ALICE.pem + CA.pem)), MALFORMED),
        (value(element(cert=MALLORY.pem)), MALFORMED),
        (value(element(hash=MALLORY.sha256.hex())), Reason.HEADER_HASH_MISMATCH),
        (TWICE + b',"cert":"x"}]', AMBIGUOUS),
        (TWICE + b',"hash":"x"}]', AMBIGUOUS),
        (TWICE + b',"chain":[]}]', AMBIGUOUS),
        (TWICE + b',"subject":"x"}]', MALFORMED),
        (TWICE + b',"uri":[NaN]}]', MALFORMED),
        (TWICE + b',"uri":[1.5]}]', MALFORMED),
        (b"[" * 60_000, MALFORMED),
        (b'[{"a":' * 10_000, MALFORMED),
        (b"[[[[]]]]", MALFORMED),
        (value(*[element()] * 17), Reason.HEADER_ELEMENTS_UNEXPECTED),
        (value(element(ALICE, *(ROOT.leaf(f"x{n}") for n in range(10)))), Reason.TOO_MANY_CERTIFICATES),
        (value({"chain": ["not read"] * 257}), Reason.TOO_MANY_CERTIFICATES),
    ],
)
def test_hostile_value_is_refused(header: bytes, reason: Reason) -> None:
    """Other JSON, repeated keys, other types, depth, size."""
    with pytest.raises(Refused) as caught:
        xfcc_json.decode(header, RULES)
    assert caught.value.reason is reason


@given(st.one_of(st.binary(max_size=200), st.text(alphabet='[]{}":,\\abcert0', max_size=200).map(str.encode)))
def test_any_octets_are_elements_or_refused(octets: bytes) -> None:
    """Nothing else comes of them."""
    try:
        assert xfcc_json.parse(octets)
    except Refused:
        return


@pytest.mark.parametrize("end", ["", "\\", "x"])
def test_string_without_an_end_is_read_once(end: str) -> None:
    """All of it is one match, so that no second one begins inside: the work does not grow with the square."""
    text = '["' + '\\"' * 100 + end
    assert xfcc_json._STRING.sub("", text) == "["
