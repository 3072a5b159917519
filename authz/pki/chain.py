"""A chain of certificates verified at one go, from DER and for one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.budget import Budget
from authz.pki.crl.crl import Crl
from authz.pki.failure_ranking import most_specific
from authz.pki.path.builder import VerifiedPath, verify_path
from authz.pki.path.trust_store import TrustStore
from authz.pki.revocation.crl_store import CrlStore
from authz.pki.validation_policy import DEFAULT_POLICY, ValidationPolicy
from authz.pki.x509.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


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

    All certificates and CRLs are DER; `pool` holds untrusted certificates in any order, `at` is
    aware. With `check_revocation` False no CRL is asked, and nothing is said about revocation.

    Raises `authz.errors.Refused`: the most specific reason, the certificate it is about, the path it was
    met on. A certificate of `pool` that cannot be read is passed over, an anchor or a CRL that cannot be read refuses.
    Nothing is verified about host names, and nothing about whose certificate it is.
    """
    trust = TrustStore([Certificate.parse(anchor) for anchor in anchors])
    store = CrlStore([Crl(crl) for crl in crls]) if check_revocation else None
    budget = Budget()
    intermediates, unreadable = _read(pool, leaf, budget)
    try:
        return verify_path(Certificate.parse(leaf), intermediates, trust, store, at, policy, budget)
    except Refused as refusal:
        if unreadable is not None and most_specific(unreadable, refusal) is unreadable:
            raise unreadable from refusal
        raise


def _read(pool: Iterable[bytes], leaf: bytes, budget: Budget) -> tuple[list[Certificate], Refused | None]:
    """The certificates of `pool`, and the refusal of the first that is malformed.

    Raises `Refused` (too_many_certificates).
    """
    ders = dict.fromkeys(pool)
    budget.take_certificates(len(ders), len(leaf) + sum(map(len, ders)))
    certificates: list[Certificate] = []
    unreadable = None
    for der in ders:
        try:
            certificates.append(Certificate.parse(der))
        except Refused as refusal:
            unreadable = unreadable or refusal
    return certificates, unreadable
