"""The proxy's own word against the header."""

from __future__ import annotations

import hashlib

import pytest

from authz.errors import Refused
from authz.headers import check_indicator
from authz.model import CheckRequest, HeaderRules, IndicatorForm, PresentedChain
from authz.reasons import Reason

LEAF = b"0\x03\x02\x01\x01"
STATED = b"sha256=" + hashlib.sha256(LEAF).hexdigest().encode()
ENVOY = HeaderRules(indicator_header="x-authz-peer", indicator=IndicatorForm.ENVOY_FINGERPRINT)
NGINX = HeaderRules(indicator_header="x-authz-peer", indicator=IndicatorForm.NGINX_VERIFY)
HAPROXY = HeaderRules(
    indicator_header="x-authz-peer",
    indicator=IndicatorForm.SHA256,
    indicator_prefix=b"SHA256:",
    indicator_none=frozenset({b"SHA256:", b"-"}),
)
FLAG = HeaderRules(
    indicator_header="x-authz-peer",
    indicator=IndicatorForm.FLAG,
    indicator_presented=frozenset({b"1", b"true"}),
    indicator_none=frozenset({b"0"}),
)
HEX = hashlib.sha256(LEAF).hexdigest().encode()
MISSING, CONTRADICTS = Reason.PROXY_STATEMENT_MISSING, Reason.PROXY_STATEMENT_CONTRADICTS


@pytest.mark.parametrize(
    ("rules", "values", "leaf", "reason"),
    [
        (ENVOY, [STATED], LEAF, None),
        (ENVOY, [b"sha256="], None, None),
        (ENVOY, [], None, MISSING),
        (ENVOY, [], LEAF, MISSING),
        (ENVOY, [STATED, STATED], LEAF, MISSING),
        (ENVOY, [STATED], None, CONTRADICTS),
        (ENVOY, [b"sha256="], LEAF, CONTRADICTS),
        (ENVOY, [b"sha256=-"], None, CONTRADICTS),
        (ENVOY, [b""], None, CONTRADICTS),
        (ENVOY, [STATED.upper()], LEAF, CONTRADICTS),
        (ENVOY, [STATED], LEAF + b"x", CONTRADICTS),
        (NGINX, [b"NONE"], None, None),
        (NGINX, [b"SUCCESS"], LEAF, None),
        (NGINX, [b"FAILED:self-signed certificate"], LEAF, None),
        (NGINX, [b"NONE"], LEAF, CONTRADICTS),
        (NGINX, [b"SUCCESS"], None, CONTRADICTS),
        (NGINX, [b"FAILED:self-signed certificate"], None, CONTRADICTS),
        (NGINX, [b"FAILED"], LEAF, CONTRADICTS),
        (NGINX, [b"FAILED:"], LEAF, CONTRADICTS),
        (NGINX, [b"FAILED:a\x00"], LEAF, CONTRADICTS),
        (NGINX, [b"FAILED:a\n"], LEAF, CONTRADICTS),
        (NGINX, [b"success"], LEAF, CONTRADICTS),
        (NGINX, [b"SUCCESS, NONE"], LEAF, CONTRADICTS),
        (NGINX, [b"NONE, SUCCESS"], LEAF, CONTRADICTS),
        (NGINX, [b""], LEAF, CONTRADICTS),
        (NGINX, [b""], None, CONTRADICTS),
        (NGINX, [b"none"], None, CONTRADICTS),
        (NGINX, [b"NONE, NONE"], None, CONTRADICTS),
        (NGINX, [STATED], LEAF, CONTRADICTS),
        (NGINX, [], None, MISSING),
        (NGINX, [], LEAF, MISSING),
        (NGINX, [b"NONE", b"NONE"], None, MISSING),
        (NGINX, [b"SUCCESS", b"NONE"], LEAF, MISSING),
        (NGINX, [b"GENEROUS"], LEAF, None),
        (NGINX, [b"GENEROUS"], None, CONTRADICTS),
        (HAPROXY, [b"SHA256:" + HEX], LEAF, None),
        (HAPROXY, [b"SHA256:" + HEX.upper()], LEAF, None),
        (HAPROXY, [b"sha256:" + HEX], LEAF, CONTRADICTS),
        (HAPROXY, [HEX], LEAF, CONTRADICTS),
        (HAPROXY, [b"SHA256:" + HEX + b" "], LEAF, CONTRADICTS),
        (HAPROXY, [b"SHA256:" + HEX[:-1]], LEAF, CONTRADICTS),
        (HAPROXY, [b"SHA256:"], LEAF, CONTRADICTS),
        (HAPROXY, [b"SHA256:" + HEX], None, CONTRADICTS),
        (HAPROXY, [b"SHA256:"], None, None),
        (HAPROXY, [b"-"], None, None),
        (HAPROXY, [b""], None, CONTRADICTS),
        (HAPROXY, [b"SHA256:", b"SHA256:"], None, MISSING),
        (FLAG, [b"1"], LEAF, None),
        (FLAG, [b"true"], LEAF, None),
        (FLAG, [b"True"], LEAF, CONTRADICTS),
        (FLAG, [b"0"], None, None),
        (FLAG, [b"1"], None, CONTRADICTS),
        (FLAG, [b"0"], LEAF, CONTRADICTS),
        (FLAG, [b"0, 1"], LEAF, CONTRADICTS),
        (FLAG, [b"10"], LEAF, CONTRADICTS),
        (FLAG, [b""], None, CONTRADICTS),
        (FLAG, [], None, MISSING),
        (HeaderRules(), [], LEAF, None),
        (HeaderRules(), [], None, None),
    ],
)
def test_statement_must_say_what_the_header_says(
    rules: HeaderRules, values: list[bytes], leaf: bytes | None, reason: Reason | None
) -> None:
    """Missing, repeated or contradicting: refused."""
    assert outcome(rules, [(b"x-authz-peer", value) for value in values], leaf) is reason


def test_statement_in_an_underscore_twin_is_missing() -> None:
    """A twin is not the proxy's."""
    assert outcome(ENVOY, [(b"x_authz_peer", STATED)], LEAF) is MISSING
    assert outcome(ENVOY, [(b"x-authz-peer", STATED), (b"x_authz_peer", STATED)], LEAF) is MISSING


def outcome(rules: HeaderRules, headers: list[tuple[bytes, bytes]], leaf: bytes | None) -> Reason | None:
    """The reason of the refusal, if it is one."""
    try:
        presented = None if leaf is None else PresentedChain(leaf)
        check_indicator(CheckRequest("", "", tuple(headers)), rules, presented)
    except Refused as refused:
        return refused.reason
    return None
