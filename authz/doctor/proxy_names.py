"""The names in the certificate that a proxy shows to the service, where its file can be read here."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509


def names_in_file(path: str) -> frozenset[str] | None:
    """The DNS and URI names of the first certificate in a PEM file; nothing if it cannot be read here."""
    try:
        pem = Path(path).read_bytes()
    except OSError:
        return None
    return names_in(pem)


def names_in(pem: bytes) -> frozenset[str] | None:
    """The DNS and URI names of the first certificate in a PEM text; nothing if it holds none."""
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    except ValueError:
        return None
    kinds = (x509.DNSName, x509.UniformResourceIdentifier)
    return frozenset(name for kind in kinds for name in extension.value.get_values_for_type(kind))
