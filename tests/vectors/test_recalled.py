"""Extensions of certificates that others made are recalled as the library reads them."""

from __future__ import annotations

import base64
import json
import lzma
from collections.abc import Iterator

import pytest
from pki_recalled import compare
from test_pkits import DATA
from vectors_at import vector_file

pytestmark = pytest.mark.vectors


def limbo() -> Iterator[bytes]:
    """Every certificate of x509-limbo and BetterTLS."""
    for case in json.loads(lzma.decompress(vector_file("limbo.json.xz").read_bytes()))["testcases"]:
        for pem in (case["peer_certificate"], *case["untrusted_intermediates"], *case["trusted_certs"]):
            yield base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))


def test_certificates_of_pkits_are_recalled_as_the_library_reads_them() -> None:
    """All of them."""
    ders = [one.read_bytes() for one in sorted((DATA / "certs").glob("*.crt"))]
    assert compare(ders) > 300


def test_certificates_of_limbo_are_recalled_as_the_library_reads_them() -> None:
    """Those of BetterTLS too."""
    assert compare(dict.fromkeys(limbo())) > 400
