"""Extensions of certificates that others made are recalled as the library reads them."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from support.cached_extensions import compare
from support.vectors import PKITS_DATA, limbo_cases


def limbo() -> Iterator[bytes]:
    """Every certificate of x509-limbo and BetterTLS."""
    for case in limbo_cases():
        for pem in (case["peer_certificate"], *case["untrusted_intermediates"], *case["trusted_certs"]):
            yield base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))


def test_certificates_of_pkits_are_recalled_as_the_library_reads_them() -> None:
    """All of them."""
    ders = [one.read_bytes() for one in sorted((PKITS_DATA / "certs").glob("*.crt"))]
    assert compare(ders) > 300


@pytest.mark.slow
@pytest.mark.limbo
def test_certificates_of_limbo_are_recalled_as_the_library_reads_them() -> None:
    """Those of BetterTLS too."""
    assert compare(dict.fromkeys(limbo())) > 400
