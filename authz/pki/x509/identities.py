"""The subject alternative names (RFC 5280 section 4.2.1.6) by which a renewed certificate can be recognized.

A name is written with its type, as `dns:client.example`, and compared byte for byte: no pattern, no case folding, no
common name. A type that stands twice with different values is ambiguous: the certificate has no name of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509

from authz.errors import Refused
from authz.pki.x509 import der

if TYPE_CHECKING:
    from authz.pki.x509.certificate import Certificate

UPN: Final = "1.3.6.1.4.1.311.20.2.3"
"""The otherName of a user principal name, a UTF8String ([MS-WCCE] section 2.2.2.7.7.4)."""

_TEXTS: Final = {"uri": x509.UniformResourceIdentifier, "dns": x509.DNSName, "email": x509.RFC822Name}

IDENTITY_TYPES: Final = (*_TEXTS, "upn")
"""What stands before a name and its colon."""


def identities_of(certificate: Certificate) -> tuple[str, ...]:
    """The names of a certificate, at most one of each type; none if any part of its names cannot be read."""
    try:
        names, unread = certificate.alternative_names, certificate.unread_kinds
    except Refused:
        return ()
    if unread:
        return ()
    values = {kind: {name.value for name in names if isinstance(name, of)} for kind, of in _TEXTS.items()}
    values["upn"] = {_upn(name.value) for name in names if isinstance(name, x509.OtherName) and _is_upn(name)}
    alone = {kind: next(iter(of)) for kind, of in values.items() if len(of) == 1}
    return tuple(f"{kind}:{value}" for kind, value in alone.items() if value)


def _is_upn(name: x509.OtherName) -> bool:
    return name.type_id.dotted_string == UPN


def _upn(value: bytes) -> str:
    """The text; empty if it is no UTF8String."""
    try:
        start, end = der.only(value, der.UTF8_STRING)
        return value[start:end].decode("utf-8")
    except ValueError:
        return ""
