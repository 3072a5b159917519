"""Writes the list of public roots, from the installed certifi: `python tests/support/generate_public_roots.py`."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

TARGET = Path(__file__).parents[2] / "authz" / "admin" / "public_roots.py"

_MODULE = '''\
"""The keys of the roots in Mozilla's public list, whose CAs sign servers for anybody, and no clients any more.

Made by tests/support/generate_public_roots.py from certifi {version}, on {date}.
"""

from __future__ import annotations

from typing import Final

SOURCE: Final = "certifi {version}"

PUBLIC_ROOTS: Final = frozenset(
    {{
{digests}
    }}
)
"""SHA-256 of each SubjectPublicKeyInfo, in hexadecimal: a root that is certified anew keeps its key."""
'''


def module(date: str) -> str:
    """The module's text."""
    roots = x509.load_pem_x509_certificates(Path(certifi.where()).read_bytes())
    spkis = (root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for root in roots)
    digests = sorted({hashlib.sha256(spki).hexdigest() for spki in spkis})
    lines = "\n".join(f'        "{digest}",' for digest in digests)
    return _MODULE.format(version=version("certifi"), date=date, digests=lines)


if __name__ == "__main__":
    TARGET.write_text(module(f"{datetime.now(UTC):%Y-%m-%d}"))
