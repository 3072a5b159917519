"""Strict PEM."""

from __future__ import annotations

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
