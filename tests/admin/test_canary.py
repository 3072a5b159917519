"""The canary is added wholly or not at all, and removed without a trace."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from authz.admin.canary import CANARY, CanaryOrganization, add_canary, is_left_over, remove_canary
from authz.demo.mint import Mint, Party
from authz.directory import Store
from authz.errors import Problem, StoreError
from authz.model import Enforcement, TokenSettings
from authz.pki import Certificate, Crl

NOW = datetime.now(UTC).replace(microsecond=0)


def parsed(party: Party) -> Certificate:
    """As the directory takes it."""
    return Certificate.parse(party.certificate.public_bytes(Encoding.DER))


@pytest.fixture(scope="module")
def canary() -> CanaryOrganization:
    """One user with one certificate."""
    mint = Mint(timedelta(hours=1))
    root = mint.authority("Canary root")
    return CanaryOrganization(
        host="canary.example",
        token=TokenSettings("https://canary.invalid", "canary"),
        anchor=parsed(root),
        crl=Crl(mint.crl(root)),
        users={"canary": Enforcement.REQUIRED},
        leaves={parsed(mint.client("canary", root)): "canary"},
        until=NOW + timedelta(hours=1),
    )


def held(store: Store) -> set[object]:
    """What is in the directory, by names and digests."""
    crls = {stored.crl.sha256 for stored in store.crls()}
    anchors = {stored.certificate.sha256 for stored in store.anchors()}
    registrations = {stored.registration.sha256 for stored in store.registrations()}
    return {organization.name for organization in store.organizations()} | crls | anchors | registrations


def test_canary_is_added_and_removed_without_a_trace(store: Store, canary: CanaryOrganization) -> None:
    """What others have stays."""
    before = held(store)
    add_canary(store, canary, datetime.now(UTC))
    assert is_left_over(store)
    assert [each.registration.valid_until for each in store.registrations(CANARY)] == [canary.until]
    remove_canary(store)
    assert held(store) == before
    remove_canary(store)


def test_canary_that_cannot_be_added_wholly_is_not_added(store: Store, canary: CanaryOrganization) -> None:
    """Here a leaf is of a user who is not there."""
    stray = replace(canary, leaves=dict.fromkeys(canary.leaves, "stranger"))
    with pytest.raises(StoreError):
        add_canary(store, stray, datetime.now(UTC))
    assert not is_left_over(store)


def test_second_canary_leaves_the_first_as_it_is(store: Store, canary: CanaryOrganization) -> None:
    """It is refused before anything is added, and nothing is undone."""
    add_canary(store, canary, datetime.now(UTC))
    with pytest.raises(StoreError) as caught:
        add_canary(store, canary, datetime.now(UTC))
    assert caught.value.kind is Problem.ORGANIZATION_EXISTS
    assert len(store.registrations(CANARY)) == 1


def test_failing_removal_is_reported(store: Store, canary: CanaryOrganization, monkeypatch: pytest.MonkeyPatch) -> None:
    """A canary that is still there must not be taken for removed."""
    add_canary(store, canary, datetime.now(UTC))

    def refuse(*_: object) -> None:
        raise StoreError("the directory cannot be used")

    monkeypatch.setattr("authz.directory.organizations.remove_organization", refuse)
    with pytest.raises(StoreError, match="cannot be used"):
        remove_canary(store)
    assert is_left_over(store)
