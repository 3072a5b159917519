"""Verifications of new tokens are bounded for each organization, by the time that they take."""

from __future__ import annotations

import pytest

from authz.errors import Refused
from authz.identity.verification_budget import BURST_SECONDS, SECONDS, SHARE, USUAL_SECONDS, VerificationBudget
from authz.reasons import Reason


def spent(budget: VerificationBudget, organization: int, algorithm: str = "ES256") -> int:
    """How many verifications are allowed at once."""
    allowed: list[int] = []

    def spend() -> None:
        while len(allowed) < 10_000:
            budget.spend(organization, algorithm)
            allowed.append(1)

    with pytest.raises(Refused) as refused:
        spend()
    assert refused.value.reason is Reason.OVERLOADED
    return len(allowed)


@pytest.mark.parametrize("algorithm", ["ES256", "ES512"])
def test_organization_gets_its_share_of_time_and_no_more(algorithm: str) -> None:
    """A burst, then a tenth of what passes; a day of silence saves up no more than a burst."""
    seconds = 0.0
    budget = VerificationBudget(lambda: seconds)
    each = SECONDS.get(algorithm, USUAL_SECONDS)
    burst = BURST_SECONDS / each
    assert abs(spent(budget, 1, algorithm) - burst) <= 1
    seconds = 1.0
    assert abs(spent(budget, 1, algorithm) - SHARE / each) <= 1
    seconds = 86_400.0
    assert abs(spent(budget, 1, algorithm) - burst) <= 1


def test_flood_of_one_organization_leaves_the_others_theirs() -> None:
    """Each has its own bucket."""
    budget = VerificationBudget(lambda: 0.0)
    assert spent(budget, 1) == spent(budget, 2)
