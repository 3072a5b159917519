"""Certificates as bare base64 of their DER: Traefik's X-Forwarded-Tls-Client-Cert, Caddy's and Azure's headers.

    header = certificate *( "," certificates ) ; the leaf first
    certificate = 1*base64char *2"="           ; RFC 4648 section 4, padded, without line breaks
    certificates = 1*base64char *2"="          ; of one DER certificate, or of several in a row

Traefik 3 writes PEM without delimiters and line ends; Caddy's placeholder for the certificate's DER in base64
is the same for the leaf alone, as is HAProxy's ssl_c_der. Traefik 2 also percent-encoded "+", "/", "=" and ",".
No blank may follow a comma: that is how most servers join two headers, of which one may be the client's. Envoy joins
without a blank: only a digest as statement tells such a pair from a chain.
"""

from __future__ import annotations

from authz.headers import pem


def parse(value: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) of a header value. Raises `Refused` (header_malformed, too_many_certificates)."""
    leaf, *others = pem.unescape_any(value).split(b",")
    return (pem.decode_base64(leaf), *pem.decode_list(others))


def format(ders: tuple[bytes, ...]) -> bytes:  # noqa: A001 - the counterpart of parse
    """The header value that `parse` reads as `ders`."""
    return b",".join(map(pem.encode_base64, ders))
