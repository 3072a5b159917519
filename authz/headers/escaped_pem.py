"""A certificate in PEM in one header line: percent-encoded, or with blanks in place of the line ends.

    header = 1*block                    ; the leaf first, then others that the proxy passes on
    block  = "-----BEGIN" 1*blank "CERTIFICATE-----" 1*blank 1*( 1*76base64char 1*blank )
             "-----END" 1*blank "CERTIFICATE-----" *blank
    blank  = SP / HTAB / CR / LF        ; any octet also as "%" 2HEXDIG, in either case

nginx's $ssl_client_escaped_cert has only the leaf, and escapes LF, space, "+", "/" and "=" in upper-case hexadecimal;
AWS ALB leaves the last three, Apache's `escape` writes `%0a`, and Apache's `%{SSL_CLIENT_CERT}s` has blanks and
escapes nothing. Any other escape, an escape of an escape, other text, or base64 that is not canonical refuses the
header. There is one element and no hash: the client connects to this very proxy, and what it states beside the header
is compared in `authz.headers.indicator`.
"""

from __future__ import annotations

from authz.headers import pem


def parse(value: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) of a header value. Raises `Refused` (header_malformed, too_many_certificates)."""
    return pem.wrapped_certificates(value)


def format(ders: tuple[bytes, ...]) -> bytes:  # noqa: A001 - the counterpart of parse
    """The header value that `parse` reads as `ders`, as nginx would write it."""
    return pem.escape(pem.write(ders))
