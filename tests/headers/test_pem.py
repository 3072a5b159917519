"""Strict PEM."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from pki_factory import Authority

from authz.errors import Refused
from authz.headers import pem

ROOT = Authority.root()
PEM = ROOT.pem.encode()


def test_blocks_are_read_in_order() -> None:
    """One behind the other."""
    other = Authority.root("Other")
    assert pem.certificates(PEM + other.pem.encode()) == (ROOT.der, other.der)


def test_write_then_read_is_identity() -> None:
    """And the writer's form is the library's."""
    assert pem.write([ROOT.der]) == PEM


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"\n" + PEM,
        PEM + b"\n",
        PEM[:-1],
        PEM.replace(b"\n", b"\r\n"),
        PEM.replace(b"BEGIN CERTIFICATE", b"BEGIN X509 CRL"),
        PEM.replace(b"\n", b"", 1),
        b"-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMAAx\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMA=A\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMAB=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMIIA\n-----END CERTIFICATE-----\n",
    ],
)
def test_anything_else_is_refused(text: bytes) -> None:
    """Other labels, other line ends, text around, base64 that is not canonical, no DER."""
    with pytest.raises(Refused):
        pem.certificates(text)


def test_escape_is_what_the_proxies_write_and_unescape_its_inverse() -> None:
    """Measured: LF, space, plus, slash and equals in upper-case hexadecimal, the dashes as they are."""
    assert pem.escape(PEM) == quote(PEM, safe="-").encode()
    assert pem.unescape(pem.escape(PEM)) == PEM


@pytest.mark.parametrize("text", [b"%", b"%0D", b"%2b", b"%41", b"%%0A", b"%252B"])
def test_other_escape_is_refused(text: bytes) -> None:
    """Also one that another decoder would read, and one that would be one after decoding twice."""
    with pytest.raises(Refused):
        pem.unescape(text)


@pytest.mark.parametrize("count", [0, 2])
def test_single_is_exactly_one(count: int) -> None:
    """None and two are refused."""
    assert pem.single(PEM) == ROOT.der
    with pytest.raises(Refused):
        pem.single(PEM * count)
