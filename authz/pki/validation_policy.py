"""The policy inputs of path validation: those of RFC 5280 section 6.1.1, and further ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.x509 import ObjectIdentifier

from authz.model import DEFAULT_PATHS, Algorithm, PathSettings
from authz.pki.x509.algorithms import (
    DEFAULT_ALGORITHMS,
    DEFAULT_KEYS,
    DEFAULT_SIGNATURES,
    KEYS,
    MAX_RSA_BITS,
    MIN_STORED_RSA_BITS,
    SHA1_SIGNATURES,
    AlgorithmRules,
)
from authz.pki.x509.extensions import ANY_POLICY

CLIENT_AUTH: Final = "1.3.6.1.5.5.7.3.2"
ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"


@dataclass(frozen=True, slots=True)
class ValidationPolicy:
    """What a path must satisfy beyond signatures, names and times.

    `initial_policy_set` holds dotted policy identifiers; anyPolicy accepts every policy. `extended_key_usage`
    is the purpose the leaf must be good for, given as dotted text or `ObjectIdentifier` and kept as text; None asks
    for no purpose. With `require_extended_key_usage` a leaf without the extension is refused as well, and
    anyExtendedKeyUsage does not stand for the purpose.
    With a purpose, one of the bits in `key_usage` must be set in a leaf that has the extension; empty asks for none.
    `max_path_length` bounds the CA certificates between leaf and anchor that are not self-issued.
    `algorithms` says which signature algorithms and keys are accepted, on the whole path.

    Raises `TypeError` for an object identifier of another type, `ValueError` for a text that is not dotted.
    """

    initial_policy_set: frozenset[str] = frozenset({ANY_POLICY})
    require_explicit_policy: bool = False
    inhibit_policy_mapping: bool = False
    inhibit_any_policy: bool = False
    extended_key_usage: str | ObjectIdentifier | None = CLIENT_AUTH
    require_extended_key_usage: bool = False
    # RFC 5280 section 4.2.1.12: the bits that are consistent with client authentication.
    key_usage: frozenset[str] = frozenset({"digitalSignature", "keyAgreement"})
    max_path_length: int | None = None
    algorithms: AlgorithmRules = DEFAULT_ALGORITHMS

    def __post_init__(self) -> None:
        """One in another form would be found in no certificate, and every leaf refused."""
        if self.extended_key_usage is not None:
            object.__setattr__(self, "extended_key_usage", _dotted("extended_key_usage", self.extended_key_usage))
        for identifier in self.initial_policy_set:
            _dotted("initial_policy_set", identifier)


def _dotted(what: str, identifier: object) -> str:
    if isinstance(identifier, ObjectIdentifier):
        return identifier.dotted_string
    if not isinstance(identifier, str):
        raise TypeError(f"{what} is a dotted text or an ObjectIdentifier, not {type(identifier).__name__}")
    try:
        dotted = ObjectIdentifier(identifier).dotted_string
    except ValueError:
        dotted = ""
    if dotted != identifier or not identifier:
        raise ValueError(f"{what} is no dotted object identifier: {identifier!r}")
    return dotted


DEFAULT_POLICY: Final = ValidationPolicy()

SERVICE_POLICY: Final = ValidationPolicy(require_extended_key_usage=True)
"""What the service demands of a client: a leaf made for client authentication, and said to be."""

CRL_SIGNER_POLICY: Final = ValidationPolicy(extended_key_usage=None)
"""For the path of a certificate that signs CRLs (RFC 5280 section 6.3.3 (f)): no purpose beyond its key usage."""


def service_policy(settings: PathSettings) -> ValidationPolicy:
    """What the service demands of an organization's clients: by default `SERVICE_POLICY` itself.

    Raises `ValueError` for settings under which no certificate, or any, would do.
    """
    if settings == DEFAULT_PATHS:
        return SERVICE_POLICY
    if settings.purpose == ANY_EXTENDED_KEY_USAGE:
        raise ValueError("anyExtendedKeyUsage is no purpose that a leaf can name")
    return ValidationPolicy(
        initial_policy_set=frozenset(settings.policies or {ANY_POLICY}),
        require_explicit_policy=settings.explicit_policy,
        inhibit_policy_mapping=settings.inhibit_mapping,
        inhibit_any_policy=settings.inhibit_any_policy,
        extended_key_usage=settings.purpose,
        require_extended_key_usage=True,
        algorithms=_algorithms(settings),
    )


def _algorithms(settings: PathSettings) -> AlgorithmRules:
    """The default rules themselves where they are meant: checks of CRLs know them by identity."""
    names = set(settings.algorithms)
    keys = (DEFAULT_KEYS if Algorithm.DEFAULT in names else frozenset()) | (KEYS & names)
    signatures = DEFAULT_SIGNATURES | (SHA1_SIGNATURES if Algorithm.SHA1 in names else frozenset())
    if not keys:
        raise ValueError("without any kind of keys no certificate is accepted")
    if not MIN_STORED_RSA_BITS <= settings.min_rsa_bits <= MAX_RSA_BITS:
        raise ValueError(f"RSA keys have {MIN_STORED_RSA_BITS} to {MAX_RSA_BITS} bits, not {settings.min_rsa_bits}")
    rules = AlgorithmRules(signatures, keys, settings.min_rsa_bits)
    return DEFAULT_ALGORITHMS if rules == DEFAULT_ALGORITHMS else rules
