"""What cryptography reads of a certificate by itself: the oracle for what is read of it here."""

from __future__ import annotations

from cryptography import x509

from authz.pki import Certificate
from authz.pki.x509.distinguished_name import Name

_USAGES = {
    "digitalSignature": "digital_signature",
    "contentCommitment": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
}
_OF_CERTIFICATES = {"subject", "issuer", "serial", "not_before", "not_after"}
_IGNORED = (x509.IssuerAlternativeName,)
_SUBJECT_DIRECTORY_ATTRIBUTES, _POLICY_MAPPINGS = "2.5.29.9", "2.5.29.33"

_READ = {
    x509.BasicConstraints: lambda value: {"ca": value.ca, "path_length": value.path_length},
    x509.KeyUsage: lambda value: {"key_usage": {name for name, bit in _USAGES.items() if getattr(value, bit)}},
    x509.ExtendedKeyUsage: lambda value: {"extended_key_usage": {purpose.dotted_string for purpose in value}},
    x509.SubjectKeyIdentifier: lambda value: {"subject_key_id": value.digest},
    x509.AuthorityKeyIdentifier: lambda value: {"authority_key_id": value.key_identifier},
    x509.SubjectAlternativeName: lambda value: {"names": tuple(value)},
    x509.NameConstraints: lambda value: {
        "permitted": tuple(value.permitted_subtrees or ()),
        "excluded": tuple(value.excluded_subtrees or ()),
    },
    x509.CertificatePolicies: lambda value: {"policies": {policy.policy_identifier.dotted_string for policy in value}},
    x509.PolicyConstraints: lambda value: {
        "require_explicit_policy": value.require_explicit_policy,
        "inhibit_policy_mapping": value.inhibit_policy_mapping,
    },
    x509.InhibitAnyPolicy: lambda value: {"inhibit_any_policy": value.skip_certs},
    x509.CRLDistributionPoints: lambda value: {"distribution_points": tuple(value)},
    x509.FreshestCRL: lambda value: {"freshest_crl": tuple(value)},
}


def read(der: bytes) -> dict[str, object] | None:
    """What the library says of a certificate, attribute by attribute; None where it refuses anything in it."""
    try:
        parsed = x509.load_der_x509_certificate(der)
        said: dict[str, object] = {
            "subject": Name(parsed.subject),
            "issuer": Name(parsed.issuer),
            "serial": parsed.serial_number,
            "not_before": parsed.not_valid_before_utc,
            "not_after": parsed.not_valid_after_utc,
        }
        unknown = set()
        for extension in parsed.extensions:
            value, oid = extension.value, extension.oid.dotted_string
            if type(value) in _READ:
                said |= _READ[type(value)](value)
            elif extension.critical and not isinstance(value, _IGNORED):
                unknown |= {oid} - {_SUBJECT_DIRECTORY_ATTRIBUTES, _POLICY_MAPPINGS}
    except Exception:  # noqa: BLE001 - KeyError and others among it
        return None
    return said | {"unknown_critical": unknown}


def ours(der: bytes, attributes: dict[str, object]) -> dict[str, object]:
    """What is read here of the same. Raises `Refused`."""
    certificate = Certificate.parse(der)
    said = {}
    for attribute in attributes:
        source = certificate if attribute in _OF_CERTIFICATES else certificate.extensions
        value = getattr(source, attribute)
        said[attribute] = set(value) if attribute == "unknown_critical" else value
    assert not certificate.extensions.unread_kinds
    return said
