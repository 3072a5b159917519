"""How a listener reads what its proxy passes on of the client's request: the certificate, its absence, the host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CertificateForm(StrEnum):
    """The form of a listener's certificate header; a setting, never guessed."""

    XFCC = "xfcc"
    XFCC_JSON = "xfcc-json"
    RFC9440 = "rfc9440"
    ESCAPED_PEM = "escaped-pem"
    BASE64_DER = "base64-der"


class IndicatorForm(StrEnum):
    """How the proxy indicates whether the client presented a certificate."""

    NONE = "none"
    ENVOY_FINGERPRINT = "envoy-fingerprint"
    NGINX_VERIFY = "nginx-verify"
    SHA256 = "sha256"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class ClientRequestHeaders:
    """The headers (lower case) that hold the client's host, or its whole URL, and its method and target.

    Without a host and a URL, the host is the request's own Host.
    """

    host: str | None = None
    url: str | None = None
    method: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """The headers that a listener reads: of the certificate, its form, and how the proxy indicates its absence.

    `none_values` are the values that the certificate header has without a certificate, of a proxy that always sends it:
    without an indicator its absence is then no answer. `indicator_prefix` stands before a SHA-256,
    `indicator_presented` are the values of a flag for a certificate, `indicator_none` those of either for none.
    `max_bytes` bounds the headers' values together. `max_certificates` counts the leaf and all other certificates,
    duplicates dropped.
    """

    certificate_header: str = "x-forwarded-client-cert"
    form: CertificateForm = CertificateForm.XFCC
    chain_header: str | None = None
    indicator_header: str | None = None
    indicator: IndicatorForm = IndicatorForm.NONE
    none_values: frozenset[bytes] = frozenset()
    indicator_prefix: bytes = b""
    indicator_presented: frozenset[bytes] = frozenset()
    indicator_none: frozenset[bytes] = frozenset()
    max_bytes: int = 64 * 1024
    max_certificates: int = 10
