"""A certificate in PEM, percent-encoded: nginx's $ssl_client_escaped_cert, under any header name.

    header = 1*block                           ; the leaf first, then others that the proxy passes on
    block  = "-----BEGIN%20CERTIFICATE-----%0A" 1*( 1*76base64char "%0A" ) "-----END%20CERTIFICATE-----%0A"

nginx writes only the leaf, and escapes LF, space, "+", "/" and "=" in upper-case hexadecimal; the header is
the same from proxies that do not escape the last three (AWS ALB). Any other escape, other text, or base64
that is not canonical refuses the header. There is one element and no hash: the client connects to this very
proxy, and what it states beside the header is compared in `authz.headers.indicator`.
"""

from __future__ import annotations

from authz.headers import pem


def parse(value: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) of a header value, in order. Raises `Refused` (header_malformed)."""
    return pem.escaped_certificates(value)


def format(ders: tuple[bytes, ...]) -> bytes:  # noqa: A001 - the counterpart of parse
    """The header value that `parse` reads as `ders`, as nginx would write it."""
    return pem.escape(pem.write(ders))
