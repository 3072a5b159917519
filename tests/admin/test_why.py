"""What is known of a user's refusals."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.certificates import Minted
from support.command_world import ALICE, CA, LIFE, NOW
from support.sightings import add_sighting

from authz.admin.why import UserStatus, candidates, is_in_directory, passed_since, recorded_denial, status_of
from authz.directory import Store
from authz.model import Outcome, RecordedDecision
from authz.pki import Certificate

DAY = timedelta(days=1)
REFUSED = RecordedDecision(
    "5e7f", NOW, "envoy", Outcome.DENIED, "certificate_required", organization="acme", user="alice"
)


def register(store: Store, leaf: Minted) -> int:
    """A registration of alice's; its number."""
    return store.register("acme", "alice", Certificate.parse(leaf.der), now=NOW).registration.id


def status(store: Store) -> UserStatus:
    """What is known of alice."""
    with store.reading() as connection:
        return status_of(connection, "acme", "alice")


def test_candidates_are_what_counts_and_the_last_to_expire_comes_first(store: Store) -> None:
    """One that was retired, has expired, or was presented is no candidate."""
    short = CA.leaf("short", not_before=NOW - DAY, not_after=NOW + DAY)
    first, second = register(store, short), register(store, ALICE)
    store.retire(register(store, CA.leaf("retired", **LIFE)), NOW)
    seen = status(store)
    assert [stored.registration.id for stored in candidates(seen, None, NOW)] == [second, first]
    presented = Certificate.parse(ALICE.der)
    assert [stored.registration.id for stored in candidates(seen, presented, NOW)] == [first]
    assert [stored.registration.id for stored in candidates(seen, None, NOW + 2 * DAY)] == [second]


@pytest.mark.parametrize(
    ("since", "matched", "passed"), [(DAY, "certificate", True), (DAY, "", False), (-DAY, "key", False)]
)
def test_certificate_that_matched_later_outweighs_a_refusal(
    store: Store, since: timedelta, matched: str, passed: bool
) -> None:
    """Only behind it, and only if a registration matched."""
    add_sighting(store, "acme", "alice", NOW + since, not_after=NOW + 9 * DAY, matched=matched)
    seen = status(store)
    assert not passed_since(seen)
    seen.refusals.append(REFUSED)
    assert passed_since(seen) is passed


def test_recorded_refusal_keeps_its_names_and_its_moment(store: Store) -> None:
    """Whether or not the directory has them."""
    denial = recorded_denial(REFUSED)
    assert (denial.reason, denial.organization, denial.user, denial.at) == (
        "certificate_required",
        "acme",
        "alice",
        NOW,
    )
    with store.reading() as connection:
        assert is_in_directory(connection, "acme", "alice")
        assert not is_in_directory(connection, "acme", "nemo")
        assert not is_in_directory(connection, "nowhere", "alice")
