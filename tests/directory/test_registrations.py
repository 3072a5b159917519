"""Registered certificates: within the limits, never twice at one time, ended for good."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from support.certificates import NOW, Authority, Minted

from authz.directory import Store
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
