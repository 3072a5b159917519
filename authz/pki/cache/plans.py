"""Revocation plans: which CRLs of one store are applicable to such certificates below the same CAs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.pki.cache.shared import Cache
from authz.pki.cache.weights import points_weight

if TYPE_CHECKING:
    from collections.abc import Hashable

    from authz.pki.revocation.crl_scope import RevocationPlan
    from authz.pki.revocation.crl_store import CrlStore
    from authz.pki.x509.distribution_points import Points

PLAN_BYTES: Final = 1_024
"""A plan without its CRLs, candidates and points."""

PART_BYTES: Final = 1_024
"""`ApplicableCrls` without the CRLs, which the store has, or an `IndirectCandidate`."""

PlanKey = tuple["Points", bool, tuple[bytes, ...]]
"""A certificate's distribution points, whether it is a CA, and the SHA-256 of each certificate above it."""


class PlanCache(Cache[PlanKey, "RevocationPlan"]):
    """One tenant's plans in the memory of one `CrlStore`."""

    __slots__ = ()


def plans_of(store: CrlStore, owner: Hashable) -> PlanCache:
    """The plans of the tenant `owner`."""
    return store.memory.part(owner, PlanCache)


def put_plan(store: CrlStore, owner: Hashable, key: PlanKey, plan: RevocationPlan) -> None:
    """Remember the plan of such certificates."""
    crls = sum(len(applicable.crls) for applicable in plan.applicable)
    weight = PLAN_BYTES + PART_BYTES * (len(plan.applicable) + len(plan.candidates)) + 100 * (2 + len(key[2]) + crls)
    plans_of(store, owner).put(key, plan, weight + points_weight(key[0]))
