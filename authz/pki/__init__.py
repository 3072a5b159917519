"""RFC 5280 for client certificates: path building and validation (section 6.1), revocation by CRLs (6.3).

Pure: everything, the time included, is an argument. `verify_chain` is the entry for one-off use;
`verify_path` works on objects that are loaded once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from authz.pki.budget import Budget
    from authz.pki.cache.issuer_chains import CertificateSource
    from authz.pki.cache.verified import VerifiedCache
    from authz.pki.chain import verify_chain
    from authz.pki.context import Validation
    from authz.pki.crl.crl import MAX_EVIDENCE, Crl, is_newer, puts_out
    from authz.pki.crl.header import written_issuer
    from authz.pki.path.builder import VerifiedPath, verify_path
    from authz.pki.path.compromise import compromised_by
    from authz.pki.path.trust_store import TrustStore
    from authz.pki.path.validator import signature_refusal
    from authz.pki.revocation.checker import NotRevoked
    from authz.pki.revocation.crl_signers import signer_of
    from authz.pki.revocation.crl_store import CrlStore, LazyCrlStore
    from authz.pki.revocation.mode import HARD_FAIL, Exemption, ModeOf, RevocationMode
    from authz.pki.validation_policy import DEFAULT_POLICY, SERVICE_POLICY, ValidationPolicy, service_policy
    from authz.pki.x509.algorithms import DEFAULT_ALGORITHMS, AlgorithmRules
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.distinguished_name import Name
    from authz.pki.x509.identities import IDENTITY_TYPES, identities_of
    from authz.pki.x509.trust_anchor import TrustAnchor

__all__ = [
    "DEFAULT_ALGORITHMS",
    "DEFAULT_POLICY",
    "HARD_FAIL",
    "IDENTITY_TYPES",
    "MAX_EVIDENCE",
    "SERVICE_POLICY",
    "AlgorithmRules",
    "Budget",
    "Certificate",
    "CertificateSource",
    "Crl",
    "CrlStore",
    "Exemption",
    "LazyCrlStore",
    "ModeOf",
    "Name",
    "NotRevoked",
    "RevocationMode",
    "TrustAnchor",
    "TrustStore",
    "Validation",
    "ValidationPolicy",
    "VerifiedCache",
    "VerifiedPath",
    "compromised_by",
    "identities_of",
    "is_newer",
    "puts_out",
    "service_policy",
    "signature_refusal",
    "signer_of",
    "verify_chain",
    "verify_path",
    "written_issuer",
]

_HOMES: Final = {
    "DEFAULT_ALGORITHMS": "x509.algorithms",
    "DEFAULT_POLICY": "validation_policy",
    "HARD_FAIL": "revocation.mode",
    "IDENTITY_TYPES": "x509.identities",
    "MAX_EVIDENCE": "crl.crl",
    "SERVICE_POLICY": "validation_policy",
    "AlgorithmRules": "x509.algorithms",
    "Budget": "budget",
    "Certificate": "x509.certificate",
    "CertificateSource": "cache.issuer_chains",
    "Crl": "crl.crl",
    "CrlStore": "revocation.crl_store",
    "Exemption": "revocation.mode",
    "LazyCrlStore": "revocation.crl_store",
    "ModeOf": "revocation.mode",
    "Name": "x509.distinguished_name",
    "NotRevoked": "revocation.checker",
    "RevocationMode": "revocation.mode",
    "TrustAnchor": "x509.trust_anchor",
    "TrustStore": "path.trust_store",
    "Validation": "context",
    "ValidationPolicy": "validation_policy",
    "VerifiedCache": "cache.verified",
    "VerifiedPath": "path.builder",
    "compromised_by": "path.compromise",
    "identities_of": "x509.identities",
    "is_newer": "crl.crl",
    "puts_out": "crl.crl",
    "service_policy": "validation_policy",
    "signature_refusal": "path.validator",
    "signer_of": "revocation.crl_signers",
    "verify_chain": "chain",
    "verify_path": "path.builder",
    "written_issuer": "crl.header",
}


def __getattr__(name: str) -> Any:
    """What is named here is imported when it is asked for (PEP 562): to read a row of the directory needs no engine."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"authz.pki.{_HOMES[name]}"), name)
