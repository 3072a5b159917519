"""A certificate in PEM, per cent encoded: nginx's $ssl_client_escaped_cert, under whatever header name.

    header = 1*block                           ; the leaf first, then what else the proxy hands over
    block  = "-----BEGIN%20CERTIFICATE-----%0A" 1*( 1*76base64char "%0A" ) "-----END%20CERTIFICATE-----%0A"

nginx writes the leaf and nothing else, and escapes LF, space, "+", "/" and "=" in upper-case hexadecimal;
proxies that leave the last three as they are (AWS ALB) say the same. Any other escape, other text, or
base64 that is not canonical refuses the header. There is one element and no hash: the proxy in front is
the client's own, and what it states beside the header is compared in `authz.headers.indicator`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.headers import pem
from authz.headers.element import presented

if TYPE_CHECKING:
    from authz.model import HeaderRules, PresentedChain


def parse(value: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) of a header value, in order. Raises `Refused` (header_malformed)."""
    return pem.escaped_certificates(value)


def format(ders: tuple[bytes, ...]) -> bytes:  # noqa: A001 - the counterpart of parse
    """The header value that `parse` reads as `ders`, as nginx would write it."""
    return pem.escape(pem.write(ders))


def decode(value: bytes, rules: HeaderRules) -> tuple[PresentedChain, ...]:
    """The one chain of the header. Raises `Refused`: header_malformed, too_many_certificates."""
    return (presented(None, parse(value), rules),)
