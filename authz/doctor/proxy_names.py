"""The names in the certificate that a proxy shows to the service, where its file can be read here."""

from __future__ import annotations

from pathlib import Path

from authz.errors import Refused
from authz.pki import Certificate
from authz.pki.x509.library import pem_blocks


def names_in_file(path: str) -> frozenset[str] | None:
    """The DNS and URI names of the first certificate in a PEM file; nothing if it cannot be read here."""
    try:
        pem = Path(path).read_bytes()
    except OSError:
        return None
    return names_in(pem)


def names_in(pem: bytes) -> frozenset[str] | None:
    """The DNS and URI names of the first certificate in a PEM text; nothing if it holds none."""
    try:
        return Certificate.parse(pem_blocks(pem, b"CERTIFICATE")[0]).san_names
    except (Refused, ValueError):
        return None
