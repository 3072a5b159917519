"""Client-Cert and Client-Cert-Chain (RFC 9440), as structured fields (RFC 8941).

    Client-Cert       = byte-sequence                              ; RFC 9440 section 2.2: the leaf
    Client-Cert-Chain = [ OWS byte-sequence OWS *( "," OWS byte-sequence OWS ) ]
                                                                   ; section 2.3: the others, without the leaf
    byte-sequence     = ":" 1*base64char *2"=" ":"                 ; RFC 8941 section 3.3.5, of DER; in the chain also
                                                                   ; of several certificates in a row (HAProxy)
    OWS               = *( SP / HTAB )

RFC 8941 lets a parser accept base64 without its padding or with spare bits set, and lets senders add
parameters; neither is accepted here, so that a certificate has one spelling. A list may span several
lines (section 4.2); `authz.headers.selection` refuses a second line of either header, which might be the
client's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.headers import pem
from authz.headers.element import presented
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.model import HeaderRules, PresentedChain


def parse_certificate(value: bytes) -> bytes:
    """The DER in the byte sequence of Client-Cert. Raises `Refused` (header_malformed)."""
    return pem.decode_base64(_base64(value))


def _base64(value: bytes) -> bytes:
    if len(value) < 2 or value[:1] != b":" or value[-1:] != b":":
        raise Refused(Reason.HEADER_MALFORMED, "not a byte sequence between colons")
    return value[1:-1]


def format_certificate(der: bytes) -> bytes:
    """DER as a byte sequence (RFC 8941 section 4.1.8)."""
    return b":" + pem.encode_base64(der) + b":"


def parse_chain(value: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) in a list of byte sequences, which may be empty.

    Raises `Refused` (header_malformed, too_many_certificates).
    """
    if not value:
        return ()
    return tuple(pem.decode_list(_base64(item.strip(b" \t")) for item in value.split(b",")))


def format_chain(ders: tuple[bytes, ...]) -> bytes:
    """The list of byte sequences (RFC 8941 section 4.1.1)."""
    return b", ".join(map(format_certificate, ders))


def decode(value: bytes, chain: bytes | None, rules: HeaderRules) -> tuple[PresentedChain, ...]:
    """The one chain of Client-Cert and, if there was one, Client-Cert-Chain.

    Raises `Refused`: header_malformed, too_many_certificates.
    """
    leaf = parse_certificate(value)
    return (presented(leaf, (leaf, *parse_chain(chain or b"")), rules),)
