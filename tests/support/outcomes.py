"""What becomes of a chain: the refusal or none, at the moment everything minted is valid."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from authz.errors import Refused
from authz.pki import Budget, Certificate, TrustStore, ValidationPolicy, VerifiedPath, verify_path
from authz.reasons import Reason
from support.certificates import NOW, Minted

PLAIN = ValidationPolicy()


def parsed(*certificates: Minted | bytes) -> list[Certificate]:
    """Certificates as the validator uses them."""
    return [Certificate.parse(one if isinstance(one, bytes) else one.der) for one in certificates]


def path_of(
    leaf: Minted | bytes,
    *pool: Minted | bytes,
    anchors: Sequence[Minted | bytes],
    policy: ValidationPolicy = PLAIN,
    budget: Budget | None = None,
    at: datetime = NOW,
) -> VerifiedPath:
    """The verified path, revocation left out. Raises `Refused`."""
    trust = TrustStore(parsed(*anchors))
    return verify_path(parsed(leaf)[0], parsed(*pool), trust, None, at, policy, budget)


def refusal(
    leaf: Minted | bytes,
    *pool: Minted | bytes,
    anchors: Sequence[Minted | bytes],
    policy: ValidationPolicy = PLAIN,
    budget: Budget | None = None,
    at: datetime = NOW,
) -> Refused | None:
    """The refusal of `path_of`, None where a path verifies."""
    try:
        path_of(leaf, *pool, anchors=anchors, policy=policy, budget=budget, at=at)
    except Refused as refused:
        return refused
    return None


def reason(
    leaf: Minted | bytes,
    *pool: Minted | bytes,
    anchors: Sequence[Minted | bytes],
    policy: ValidationPolicy = PLAIN,
    budget: Budget | None = None,
    at: datetime = NOW,
) -> Reason | None:
    """Its reason."""
    refused = refusal(leaf, *pool, anchors=anchors, policy=policy, budget=budget, at=at)
    return None if refused is None else refused.reason
