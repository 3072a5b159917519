"""What registrations decide themselves: their state at a moment."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.certificates import NOW

from authz.model import Registration, RegistrationState

DAY = timedelta(days=1)
ACTIVE, RETIRED, SCHEDULED = RegistrationState.ACTIVE, RegistrationState.RETIRED, RegistrationState.SCHEDULED


@pytest.mark.parametrize(
    ("start", "end", "retired", "state"),
    [
        (None, None, None, ACTIVE),
        (NOW, None, None, ACTIVE),
        (NOW + DAY, None, None, SCHEDULED),
        (None, NOW, None, RETIRED),
        (None, NOW + DAY, None, ACTIVE),
        (None, None, NOW, RETIRED),
        (None, None, NOW + DAY, ACTIVE),
        (NOW + DAY, None, NOW, RETIRED),
        (NOW + DAY, NOW, None, RETIRED),
    ],
)
def test_registration_state_follows_its_dates(start, end, retired, state) -> None:  # noqa: ANN001
    """The beginning belongs to the period, the end does not, and a retirement counts from its moment."""
    registration = Registration(1, 1, 1, b"", valid_from=start, valid_until=end, retired_at=retired)
    assert registration.state(NOW) is state
