"""How a listener reads the client certificate that its proxy passes on."""

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


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """The headers that a listener reads: of the certificate, its form, and how the proxy indicates its absence.

    `max_bytes` bounds the headers' values together. `max_certificates` counts the leaf and all other certificates,
    duplicates dropped.
    """

    certificate_header: str = "x-forwarded-client-cert"
    form: CertificateForm = CertificateForm.XFCC
    chain_header: str | None = None
    indicator_header: str | None = None
    indicator: IndicatorForm = IndicatorForm.NONE
    max_bytes: int = 64 * 1024
    max_certificates: int = 10
