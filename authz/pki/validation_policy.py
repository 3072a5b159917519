"""The inputs of RFC 5280 section 6.1.1 that are a matter of policy, and ours beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from authz.pki.x509.algorithms import DEFAULT_ALGORITHMS, AlgorithmRules
from authz.pki.x509.extensions import ANY_POLICY

CLIENT_AUTH: Final = "1.3.6.1.5.5.7.3.2"
ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"


@dataclass(frozen=True, slots=True)
class ValidationPolicy:
    """What a path must satisfy beyond signatures, names and times.

    `initial_policy_set` holds dotted policy identifiers, anyPolicy for "whatever". `extended_key_usage`
    is the purpose the leaf must be good for, None for none; with `require_extended_key_usage` a leaf
    without the extension is refused as well, and anyExtendedKeyUsage does not stand for the purpose.
    With a purpose, one of the bits in `key_usage` must be set in a leaf that has the extension; empty asks for none.
    `max_path_length` bounds the CA certificates between leaf and anchor that are not self-issued.
    `algorithms` narrows which signature algorithms and keys are accepted, on the whole path.
    """

    initial_policy_set: frozenset[str] = frozenset({ANY_POLICY})
    require_explicit_policy: bool = False
    inhibit_policy_mapping: bool = False
    inhibit_any_policy: bool = False
    extended_key_usage: str | None = CLIENT_AUTH
    require_extended_key_usage: bool = False
    # RFC 5280 section 4.2.1.12: the bits that are consistent with client authentication.
    key_usage: frozenset[str] = frozenset({"digitalSignature", "keyAgreement"})
    max_path_length: int | None = None
    algorithms: AlgorithmRules = DEFAULT_ALGORITHMS


DEFAULT_POLICY: Final = ValidationPolicy()

SERVICE_POLICY: Final = ValidationPolicy(require_extended_key_usage=True)
"""What the service demands of a client: a leaf made for client authentication, and said to be."""

CRL_SIGNER_POLICY: Final = ValidationPolicy(extended_key_usage=None)
"""For the path of a certificate that signs CRLs (RFC 5280 section 6.3.3 (f)): no purpose beyond its key usage."""
