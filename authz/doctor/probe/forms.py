"""Certificate headers as some proxy would write them, forged."""

from __future__ import annotations

from authz.headers import KNOWN_HEADERS, escaped_pem, rfc9440
from authz.headers.xfcc import present


def forged_headers(der: bytes) -> dict[str, str]:
    """A certificate (DER) under every name of a certificate header that is known, in the form that goes with it."""
    special = {
        "x-forwarded-client-cert": present(der, []).decode(),
        "client-cert": rfc9440.format_certificate(der).decode(),
        "client-cert-chain": rfc9440.format_chain((der,)).decode(),
    }
    return dict.fromkeys(sorted(KNOWN_HEADERS), escaped_pem.format((der,)).decode()) | special
