"""Every kind of work is counted, and its end is a refusal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from authz.errors import Refused
from authz.pki.budget import Budget
from authz.reasons import Reason


@pytest.mark.parametrize(
    ("counter", "spend"),
    [
        ("steps", lambda budget: [budget.spend_step() for _ in range(3)]),
        ("signatures", lambda budget: budget.spend_signature(3)),
        ("name_comparisons", lambda budget: budget.spend_names(3)),
        ("policy_nodes", lambda budget: budget.spend_policy_nodes(3)),
    ],
)
def test_work_beyond_the_budget_is_refused(counter: str, spend: Callable[[Budget], object]) -> None:
    """To the last unit it may be spent."""
    enough, short = Budget(**{counter: 3}), Budget(**{counter: 2})
    spend(enough)
    assert getattr(enough, counter) == 0
    with pytest.raises(Refused) as caught:
        spend(short)
    assert caught.value.reason is Reason.BUDGET_EXCEEDED
    assert getattr(short, counter) == -1


def test_certificates_beyond_the_limit_are_too_many() -> None:
    """They are counted once, and not used up."""
    budget = Budget(certificates=3)
    budget.take_certificates(3, 100)
    budget.take_certificates(3, 100)
    with pytest.raises(Refused) as caught:
        budget.take_certificates(4, 100)
    assert caught.value.reason is Reason.TOO_MANY_CERTIFICATES


def test_service_may_spend_less_than_the_library() -> None:
    """Of everything."""
    service, library = Budget.service(), Budget()
    counters = ("steps", "signatures", "name_comparisons", "policy_nodes", "depth", "certificates", "octets")
    assert all(getattr(service, one) < getattr(library, one) for one in counters)
    assert service.certificates == 10


def test_octets_beyond_the_limit_are_too_much_work() -> None:
    """They are counted before anything is read."""
    budget = Budget(octets=100)
    budget.take_certificates(3, 100)
    with pytest.raises(Refused) as caught:
        budget.take_certificates(3, 101)
    assert caught.value.reason is Reason.BUDGET_EXCEEDED


def test_weight_beyond_the_limit_is_too_much_to_read() -> None:
    """It is weighed whole, and not used up."""
    budget = Budget(reading=3)
    budget.take_certificates(1, 1, 3)
    budget.take_certificates(1, 1, 3)
    with pytest.raises(Refused) as caught:
        budget.take_certificates(1, 1, 4)
    assert caught.value.reason is Reason.BUDGET_EXCEEDED
