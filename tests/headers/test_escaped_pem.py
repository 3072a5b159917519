"""A per cent encoded PEM: what is read, and what is refused."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority, chain_pem

from authz.errors import Refused
from authz.headers import Selected, decode, escaped_pem
from authz.model import CertificateForm, HeaderRules
from authz.reasons import Reason

RULES = HeaderRules("x-ssl-client-cert", CertificateForm.ESCAPED_PEM)
ROOT = Authority.root()
CA = ROOT.intermediate()
ALICE = CA.leaf("alice")
NGINX = quote(ALICE.pem, safe="-").encode()


def test_nginx_value_gives_the_leaf_alone() -> None:
    """As $ssl_client_escaped_cert was measured; nginx has no chain to give."""
    (chain,) = decode(Selected(NGINX), RULES)
    assert (chain.leaf, chain.intermediates) == (ALICE.der, ())
    assert escaped_pem.format((ALICE.der,)) == NGINX


def test_value_with_three_octets_unescaped_is_the_same() -> None:
    """As AWS ALB writes it, and with the chain behind the leaf."""
    value = quote(chain_pem(ALICE, CA, ROOT), safe="-+=/").encode()
    (chain,) = decode(Selected(value), RULES)
    assert (chain.leaf, chain.intermediates) == (ALICE.der, (CA.der, ROOT.der))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"%0A",
        NGINX[:-4],
        NGINX + b"%0A-----",
        NGINX + b",",
        NGINX + b"," + NGINX,
        NGINX + b", " + NGINX,
        NGINX.replace(b"%0A", b"\n") + b"x",
        NGINX.replace(b"%0A", b""),
        NGINX.replace(b"%0A", b"%0A%0B"),
        NGINX.replace(b"%0A", b"%A"),
        NGINX.replace(b"%0A", b"%%0AA"),
        NGINX.replace(b"%0A", b"%250A"),
        NGINX.replace(b"%0A-----END", b"-----END"),
        NGINX.replace(b"BEGIN%20CERTIFICATE", b"BEGINCERTIFICATE"),
        NGINX.replace(b"%20", b"+"),
        NGINX.replace(b"%", b"%25"),
        NGINX.replace(b"CERTIFICATE", b"PRIVATE%20KEY"),
        NGINX.replace(b"CERTIFICATE", b"TRUSTED%20CERTIFICATE"),
        b"%2D" + NGINX[1:],
        b"text" + NGINX,
        b"(null)",
        b'"' + NGINX + b'"',
        NGINX[:200] + b"\x00" + NGINX[200:],
        NGINX[:200] + b"\xff" + NGINX[200:],
        b"-----BEGIN%20CERTIFICATE-----%0AMAB%3D%0A-----END%20CERTIFICATE-----%0A",
        b"%" * 60_000,
        b"-----BEGIN%20CERTIFICATE-----%0A" * 2_000,
    ],
)
def test_hostile_value_is_refused(value: bytes) -> None:
    """Other escapes, other line ends, other labels, text around, joined values, base64 that is not canonical."""
    with pytest.raises(Refused) as caught:
        decode(Selected(value), RULES)
    assert caught.value.reason is Reason.HEADER_MALFORMED


@pytest.mark.parametrize(
    "value",
    [
        NGINX.replace(b"%0A", b"%0a"),
        re.sub(rb"%..", lambda escape: escape[0].lower(), NGINX),
        NGINX.replace(b"%0A", b"%0D%0A"),
        NGINX.replace(b"%0A", b"%0d%0a"),
        NGINX.replace(b"%0A", b"%20"),
        NGINX.replace(b"%0A", b" "),
        ALICE.pem.replace("\n", " ").strip().encode(),
        ALICE.pem.replace("\n", "\t").encode(),
        re.sub(rb"(?<=[^-])%0A(?=[^-])", b"", NGINX),
        quote(ALICE.pem, safe="-+=/ ").replace("%0A", "%0a").encode(),
        NGINX[:-3],
        NGINX + b"%0A",
    ],
)
def test_wrapping_is_each_proxys_own(value: bytes) -> None:
    """Either case of hexadecimal, any line ends, blanks for them: the certificate is the same."""
    (chain,) = decode(Selected(value), RULES)
    assert (chain.leaf, chain.intermediates) == (ALICE.der, ())


def test_blocks_in_one_line_are_leaf_and_others() -> None:
    """As Apache's own variables, one behind the other, give them."""
    value = chain_pem(ALICE, CA).replace("\n", " ").encode()
    (chain,) = decode(Selected(value), RULES)
    assert (chain.leaf, chain.intermediates) == (ALICE.der, (CA.der,))


def test_more_than_ten_certificates_are_refused() -> None:
    """As everywhere."""
    ders = tuple(ROOT.leaf(f"x{number}").der for number in range(11))
    with pytest.raises(Refused) as caught:
        decode(Selected(escaped_pem.format(ders)), RULES)
    assert caught.value.reason is Reason.TOO_MANY_CERTIFICATES


DER = st.binary(max_size=120).map(lambda octets: bytes([0x30, len(octets)]) + octets)


@given(st.lists(DER, min_size=1, max_size=4).map(tuple))
def test_format_then_parse_is_identity(ders: tuple[bytes, ...]) -> None:
    """What is written is what is read."""
    assert escaped_pem.parse(escaped_pem.format(ders)) == ders


@given(st.binary(max_size=100))
def test_any_octets_are_certificates_or_refused(octets: bytes) -> None:
    """Nothing else comes of them."""
    try:
        assert escaped_pem.parse(octets)
    except Refused:
        return
