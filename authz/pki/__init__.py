"""RFC 5280 for client certificates: path building and validation (section 6.1), revocation by CRLs (6.3).

Pure: everything, the time included, is an argument. `verify_chain` is the entry for one-off use;
`verify_path` works on objects that are loaded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.budget import Budget
from authz.pki.cache.issuer_chains import Origin
from authz.pki.cache.verified import Memo
from authz.pki.crl.crl import Crl
from authz.pki.failure_ranking import most_specific
from authz.pki.path.builder import VerifiedPath, verify_path
from authz.pki.path.trust_store import TrustAnchor, TrustStore
from authz.pki.revocation.checker import NotRevoked
from authz.pki.revocation.crl_store import CrlStore, signer_of
from authz.pki.revocation.mode import HARD_FAIL, Exemption, ModeOf, RevocationMode
from authz.pki.validation_policy import DEFAULT_POLICY, SERVICE_POLICY, ValidationPolicy
from authz.pki.x509.algorithms import AlgorithmRules
from authz.pki.x509.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

__all__ = [
    "DEFAULT_POLICY",
    "HARD_FAIL",
    "SERVICE_POLICY",
    "AlgorithmRules",
    "Budget",
    "Certificate",
    "Crl",
    "CrlStore",
    "Exemption",
    "Memo",
    "ModeOf",
    "NotRevoked",
    "Origin",
    "RevocationMode",
    "TrustAnchor",
    "TrustStore",
    "ValidationPolicy",
    "VerifiedPath",
    "signer_of",
    "verify_chain",
    "verify_path",
]


def verify_chain(
    leaf: bytes,
    *,
    pool: Iterable[bytes] = (),
    anchors: Iterable[bytes],
    crls: Iterable[bytes] = (),
    at: datetime,
    policy: ValidationPolicy = DEFAULT_POLICY,
    check_revocation: bool = True,
) -> VerifiedPath:
    """The proof that `leaf` verifies to one of `anchors` at `at`, with every certificate known not to be revoked.

    All certificates and CRLs are DER; `pool` is an unordered bag of untrusted certificates, `at` is
    aware. With `check_revocation` False no CRL is asked, and nothing is said about revocation.

    Raises `authz.errors.Refused`: the most useful reason, the certificate it is about, the path it was
    met on. What of `pool` cannot be read is passed over, an anchor or CRL that cannot be refuses. Nothing is
    verified about host names, and nothing about whose certificate it is.
    """
    trust = TrustStore([Certificate.parse(one) for one in anchors])
    store = CrlStore([Crl(one) for one in crls]) if check_revocation else None
    budget = Budget()
    bag, unreadable = _read(pool, leaf, budget)
    try:
        return verify_path(Certificate.parse(leaf), bag, trust, store, at, policy, budget)
    except Refused as refusal:
        if unreadable is not None and most_specific(unreadable, refusal) is unreadable:
            raise unreadable from refusal
        raise


def _read(pool: Iterable[bytes], leaf: bytes, budget: Budget) -> tuple[list[Certificate], Refused | None]:
    """The certificates of `pool`, and why the first of the others is none. Raises `Refused` (too_many_certificates)."""
    ders = dict.fromkeys(pool)
    budget.take_certificates(len(ders), len(leaf) + sum(map(len, ders)))
    found: list[Certificate] = []
    unreadable = None
    for der in ders:
        try:
            found.append(Certificate.parse(der))
        except Refused as refusal:
            unreadable = unreadable or refusal
    return found, unreadable
