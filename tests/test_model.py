"""The nouns: what little they decide themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.certificates import NOW

from authz.model import Binding, CheckRequest, Registration, RegistrationState, fold
from authz.reasons import Reason

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
    one = Registration(1, 1, 1, b"", valid_from=start, valid_until=end, retired_at=retired)
    assert one.state(NOW) is state


def test_binding_says_bound_or_the_reason() -> None:
    """What headers and logs print."""
    assert str(Binding(registration=Registration(1, 1, 1, b""))) == "bound"
    assert str(Binding(refusal=Reason.CERTIFICATE_REQUIRED)) == "certificate_required"


def test_request_values_are_all_of_one_name_in_order() -> None:
    """Repeated headers stay apart."""
    request = CheckRequest("", "", ((b"a", b"1"), (b"b", b"2"), (b"a", b"3")))
    assert request.values("a") == [b"1", b"3"]


def test_request_knows_its_headers_as_servers_take_them_for_one() -> None:
    """Hyphen or underscore, in order; each value under its own name only."""
    headers = ((b"x-a", b"1"), (b"x_a", b"2"), (b"xa", b"3"), (b"x-a", b"4"))
    request = CheckRequest("", "", headers)
    assert request.alike == {b"x_a": [headers[0], headers[1], headers[3]], b"xa": [headers[2]]}
    assert request.values("x-a") == [b"1", b"4"]
    assert request.values("x_a") == [b"2"]
    assert request.values("y") == []


def test_name_is_folded_as_servers_do() -> None:
    """Its octets, and those with underscores."""
    assert fold("x-a-b") == (b"x-a-b", b"x_a_b")
