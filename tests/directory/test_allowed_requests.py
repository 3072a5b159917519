"""Which allowed requests are noted, at what cost for the check, and how many."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime, timedelta

import pytest
from support.certificates import NOW
from support.decision_world import ACME, ALICE, CA, EVIL, decide, request

from authz.decision import Allow, Evidence
from authz.directory.allowed_requests import MAX_USERS, MAX_WAITING, WEIGHT_BYTES, AllowedRequests
from authz.model import Enforcement, Organization, User
from authz.view import Listener

LISTENER = Listener("envoy", ())


class Clock:
    """A clock that is set."""

    at = NOW

    def now(self) -> datetime:
        """The moment."""
        return self.at

    def monotonic(self) -> float:
        """Nothing asks for it."""
        return 0.0


def allow(number: int, organization: Organization = ACME) -> Allow:
    """An allowed request of a user."""
    user = User(number, organization.id, f"u{number}", Enforcement.OFF)
    return Allow(organization, user, None, None, Evidence(organization, user=user))


def noted(requests: AllowedRequests) -> list[int]:
    """The users whose requests are taken."""
    return [decision.user.id for _, _, decision, _ in requests.take()[0]]


def test_first_request_of_a_user_on_a_day_is_noted() -> None:
    """And again on the next day, once that has begun for what writes."""
    clock = Clock()
    requests = AllowedRequests(clock, first_only=True)
    requests.take()
    for number in (1, 2, 1, 1):
        requests.note(request(), LISTENER, allow(number))
    assert noted(requests) == [1, 2]
    requests.note(request(), LISTENER, allow(1))
    assert noted(requests) == []
    clock.at = NOW + timedelta(days=1)
    assert noted(requests) == []
    requests.note(request(), LISTENER, allow(1))
    assert noted(requests) == [1]


def test_every_request_is_noted_as_far_as_there_is_room() -> None:
    """An organization that floods leaves half of it, and what is lost is counted."""
    requests = AllowedRequests(Clock(), first_only=False)
    for number in range(2 * MAX_WAITING):
        requests.note(request(), LISTENER, allow(number))
    for number in range(5):
        requests.note(request(), LISTENER, allow(number, EVIL))
    notes, lost = requests.take()
    assert Counter(decision.organization.name for _, _, decision, _ in notes) == {"acme": MAX_WAITING // 2, "evil": 5}
    assert lost == 2 * MAX_WAITING - MAX_WAITING // 2
    assert requests.take() == ([], 0)


def test_notes_are_bounded_by_what_they_take() -> None:
    """A user with much in a request takes the room of many."""
    requests = AllowedRequests(Clock(), first_only=False)
    large = request(headers=((b"x-large", b"x" * 99 * WEIGHT_BYTES),))
    for number in range(5):
        requests.note(large, LISTENER, allow(number))
    notes, lost = requests.take()
    assert (len(notes), lost) == (1, 4)
    requests.note(large, LISTENER, allow(1))
    assert len(noted(requests)) == 1


@pytest.mark.slow
def test_users_that_are_remembered_are_bounded() -> None:
    """Beyond, they are forgotten; so is one that had no room, which is noted the next time."""
    requests = AllowedRequests(Clock(), first_only=True)
    for number in range(MAX_USERS + 1000):
        requests.note(request(), LISTENER, allow(number))
        if number % 100 == 0:
            requests.take()
    assert len(requests._users) <= MAX_USERS
    for number in range(MAX_WAITING):
        requests.note(request(), LISTENER, allow(-number))
    requests.take()
    requests.note(request(), LISTENER, allow(1 - MAX_WAITING))
    assert noted(requests) == [1 - MAX_WAITING]


@pytest.mark.parametrize(("first_only", "again", "calls"), [(True, True, 1), (True, False, 2), (False, True, 2)])
def test_note_costs_a_check_two_calls_at_most(first_only: bool, again: bool, calls: int) -> None:
    """Itself and the clock: no record is made beside the check."""
    requests = AllowedRequests(Clock(), first_only=first_only)
    check = request(ALICE, CA)
    decision = decide(check)
    assert isinstance(decision, Allow)
    if again:
        requests.note(check, LISTENER, decision)
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    requests.note(check, LISTENER, decision)
    sys.setprofile(None)
    assert count == calls
