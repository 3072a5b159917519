"""Registered certificates: within the limits, never twice at one time, ended for good."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from support.certificates import NOW, Authority, Minted

from authz.directory import Store
from authz.directory.crls import known_cas
from authz.directory.registrations import find_registration, set_registration
from authz.directory.schema import registrations
from authz.errors import StoreError
from authz.model import Organization, RegistrationState
from authz.pki import Certificate

ROOT = Authority.root()
CA = ROOT.intermediate()
ALICE = CA.leaf("alice")
DAY = timedelta(days=1)


def parsed(minted: Minted) -> Certificate:
    """A minted certificate, read."""
    return Certificate.parse(minted.der)


def test_registration_keeps_leaf_chain_and_dates(store: Store) -> None:
    """Everything comes back."""
    added = store.register(
        "acme", "alice", parsed(ALICE), [parsed(CA)], label="l", valid_from=NOW, valid_until=NOW + DAY, now=NOW
    )
    held = store.registration(added.registration.id)
    assert (held.leaf.der, held.registration.chain, held.registration.label) == (ALICE.der, (CA.der,), "l")
    assert (held.registration.valid_from, held.registration.valid_until) == (NOW, NOW + DAY)
    assert (held.organization, held.user) == ("acme", "alice")


def test_registration_twice_at_one_time_is_refused(store: Store) -> None:
    """For one user; another user, or another time, is fine."""
    first = store.register("acme", "alice", parsed(ALICE), now=NOW)
    with pytest.raises(StoreError, match="already"):
        store.register("acme", "alice", parsed(ALICE), now=NOW)
    store.add_user("acme", "bob")
    store.register("acme", "bob", parsed(ALICE), now=NOW)
    store.retire(first.registration.id, NOW)
    store.register("acme", "alice", parsed(ALICE), now=NOW)
    assert len(store.registrations("acme")) == 3
    assert len(store.registrations("acme", "alice")) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"label": "x" * 65},
        {"valid_from": NOW, "valid_until": NOW},
        {"chain": [parsed(CA)] * 10},
    ],
)
def test_registration_beyond_a_limit_is_refused(store: Store, options: dict[str, object]) -> None:
    """Label, dates, number of certificates."""
    with pytest.raises(StoreError):
        store.register("acme", "alice", parsed(ALICE), now=NOW, **options)  # type: ignore[arg-type]
    assert store.registrations() == []


def test_registration_elsewhere_is_reported_not_refused(store: Store) -> None:
    """A public certificate must not be squatted."""
    store.add_organization(Organization(0, "b", ()))
    store.add_user("b", "alice")
    store.register("b", "alice", parsed(ALICE), now=NOW)
    store.register("acme", "alice", parsed(ALICE), now=NOW)
    assert store.registered_elsewhere("acme", ALICE.sha256) == ["b"]


def test_retirement_is_never_put_off(store: Store) -> None:
    """An end that came stays; an earlier one counts."""
    key = store.register("acme", "alice", parsed(ALICE), now=NOW).registration.id
    store.retire(key, NOW)
    assert store.retire(key, NOW + DAY).registration.retired_at == NOW
    assert store.retire(key, NOW - DAY).registration.retired_at == NOW - DAY
    assert store.registration(key).registration.state(NOW) is RegistrationState.RETIRED


def test_registration_whose_certificate_cannot_be_read_is_listed_and_can_be_retired(store: Store) -> None:
    """As before: one of a million hides none of the others."""
    key = store.register("acme", "alice", parsed(ALICE), now=NOW).registration.id
    with store.transaction() as connection:
        connection.execute(sa.update(registrations).values(der=b"\x30\x00", chain=b"\x30", chain_sha256=bytes(32)))
        assert known_cas(connection) == []
    assert [(stored.registration.id, stored.leaf) for stored in store.registrations("acme")] == [(key, None)]
    assert store.retire(key, NOW).registration.retired_at == NOW


def test_registration_unknown_is_an_error(store: Store) -> None:
    """By id."""
    with pytest.raises(StoreError):
        store.retire(99, NOW)


def test_retirement_is_one_transaction(store: Store) -> None:
    """Nothing comes between the look and the change, and the answer is what was stored."""
    key = store.register("acme", "alice", parsed(ALICE), now=NOW).registration.id
    begun: list[object] = []
    sa.event.listen(store._engine, "begin", begun.append)
    assert store.retire(key, NOW).registration.retired_at == NOW
    assert len(begun) == 1


def test_change_meets_the_limits_of_a_new_registration(store: Store) -> None:
    """Label, period, and that two of one leaf never count for one user at one time."""
    key = store.register("acme", "alice", parsed(ALICE), valid_until=NOW + DAY, now=NOW).registration.id
    store.register("acme", "alice", parsed(ALICE), valid_from=NOW + DAY, now=NOW)
    for changed in (
        {"label": "x" * 65},
        {"valid_from": NOW + DAY},
        {"valid_until": None},
        {"valid_until": NOW + 2 * DAY},
    ):
        with pytest.raises(StoreError), store.transaction() as connection:
            set_registration(connection, key, changed, NOW)
    with store.transaction() as connection:
        stored = set_registration(connection, key, {"label": "phone", "valid_until": NOW + DAY / 2}, NOW)
    assert stored == store.registration(key)
    assert (stored.registration.label, stored.registration.valid_until) == ("phone", NOW + DAY / 2)


def test_registration_that_is_not_there_is_not_changed(store: Store) -> None:
    """Nor is any other."""
    with pytest.raises(StoreError, match="there is no registration 9"), store.transaction() as connection:
        set_registration(connection, 9, {"label": "phone"}, NOW)


def test_retired_registration_may_be_changed_beside_another(store: Store) -> None:
    """It counts at no time."""
    key = store.register("acme", "alice", parsed(ALICE), now=NOW).registration.id
    store.retire(key, NOW)
    store.register("acme", "alice", parsed(ALICE), now=NOW)
    with store.transaction() as connection:
        assert set_registration(connection, key, {"label": "old"}, NOW).registration.label == "old"


def test_registration_is_found_by_its_leaf_unless_there_are_several(store: Store) -> None:
    """Those are listed with their users."""
    store.register("acme", "alice", parsed(ALICE), now=NOW)
    beginning = ALICE.sha256.hex()[:20]
    with store.reading() as connection:
        assert find_registration(connection, beginning).registration.id == 1
        with pytest.raises(StoreError, match="no registered certificate"):
            find_registration(connection, "0" * 64)
    store.add_user("acme", "bob")
    store.register("acme", "bob", parsed(ALICE), now=NOW)
    with store.reading() as connection, pytest.raises(StoreError, match=r"1 \(alice of acme\), 2 \(bob of acme\)"):
        find_registration(connection, beginning)
