"""Verifications of new tokens are bounded for each organization, by the time that they take."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from authz.errors import Refused
from authz.identity.verification_budget import (
    BURST_SECONDS,
    SHARE,
    USUAL_SECONDS,
    VerificationBudget,
    verification_seconds,
)
from authz.reasons import Reason


def spent(budget: VerificationBudget, organization: int, each: float = USUAL_SECONDS) -> int:
    """How many verifications are allowed at once."""
    allowed: list[int] = []

    def spend() -> None:
        while len(allowed) < 10_000:
            budget.spend(organization, each)
            allowed.append(1)

    with pytest.raises(Refused) as refused:
        spend()
    assert refused.value.reason is Reason.OVERLOADED
    return len(allowed)


@pytest.mark.parametrize("each", [USUAL_SECONDS, 0.0015])
def test_organization_gets_its_share_of_time_and_no_more(each: float) -> None:
    """A burst, then a tenth of what passes; a day of silence saves up no more than a burst."""
    seconds = 0.0
    budget = VerificationBudget(lambda: seconds)
    burst = BURST_SECONDS / each
    assert abs(spent(budget, 1, each) - burst) <= 1
    seconds = 1.0
    assert abs(spent(budget, 1, each) - SHARE / each) <= 1
    seconds = 86_400.0
    assert abs(spent(budget, 1, each) - burst) <= 1


def test_flood_of_one_organization_leaves_the_others_theirs() -> None:
    """Each has its own bucket."""
    budget = VerificationBudget(lambda: 0.0)
    assert spent(budget, 1) == spent(budget, 2)


@pytest.mark.parametrize(
    ("key", "seconds"),
    [
        (ec.generate_private_key(ec.SECP256R1()).public_key(), USUAL_SECONDS),
        (ec.generate_private_key(ec.SECP384R1()).public_key(), 0.0015),
        (ec.generate_private_key(ec.SECP521R1()).public_key(), 0.0015),
        (ed25519.Ed25519PrivateKey.generate().public_key(), USUAL_SECONDS),
        (ed448.Ed448PrivateKey.generate().public_key(), 0.0006),
        (rsa.RSAPublicNumbers(65537, 2**2047 + 1).public_key(), USUAL_SECONDS),
        (rsa.RSAPublicNumbers(65537, 2**8191 + 1).public_key(), 0.00068),
        (rsa.RSAPublicNumbers(2**32 - 1, 2**8191 + 1).public_key(), 0.00128),
    ],
    ids=["p256", "p384", "p521", "ed25519", "ed448", "rsa2048", "rsa8192", "rsa8192-largest-exponent"],
)
def test_verification_costs_what_its_key_costs(key: object, seconds: float) -> None:
    """Not what its algorithm usually does: RS256 takes 25 times as long with the largest key as with a usual one."""
    assert verification_seconds(key) == pytest.approx(seconds)
