"""Certificates as bare base64 of their DER: Traefik's X-Forwarded-Tls-Client-Cert, Caddy's and Azure's headers.

    header = certificate *( "," certificate )  ; the leaf first
    certificate = 1*base64char *2"="           ; RFC 4648 section 4, padded, without line breaks

Traefik 3 writes PEM without delimiters and line ends; Caddy's placeholder for the certificate's DER in base64
is the same for the leaf alone. Traefik 2 also escaped "+", "/" and "=": that is refused.
"""

from __future__ import annotations

from authz.headers import pem


def parse(value: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) of a header value, in order. Raises `Refused` (header_malformed)."""
    return tuple(map(pem.decode_base64, value.split(b",")))


def format(ders: tuple[bytes, ...]) -> bytes:  # noqa: A001 - the counterpart of parse
    """The header value that `parse` reads as `ders`."""
    return b",".join(map(pem.encode_base64, ders))
