"""A leaf is registered if it is one, and what speaks against it now is reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import Authority, Minted
from support.command_world import ALICE, BOB, CA, CRL_LIFE, LIFE, NOW, ROOT

from authz.admin.organizations import OrganizationChange, PathChange, change_organization
from authz.admin.registrations import (
    NewRegistration,
    change_registration,
    register,
    register_all,
    reinstate,
    retire,
    split_leaf,
)
from authz.directory import Store
from authz.errors import ConfigError, StoreError
from authz.model import Organization, RegistrationState
from authz.pki import Certificate, Crl
from authz.reasons import Reason

EXPIRED = CA.leaf("old", not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))


def new(*minted: Minted) -> NewRegistration:
    """Certificates for alice."""
    return NewRegistration("acme", "alice", [Certificate.parse(one.der) for one in minted], "alice.pem", "laptop")


def test_leaf_that_verifies_is_registered_without_remark(store: Store) -> None:
    """With the CAs beside it, in whatever order they came."""
    added = register(store, new(CA, ALICE), NOW)
    assert (added.elsewhere, added.problem) == ([], None)
    assert added.registration.registration.chain == (CA.der,)
    assert added.registration == store.registration(added.registration.registration.id)


def test_leaf_registered_elsewhere_is_reported(store: Store) -> None:
    """A public certificate must not be squatted; that it has no anchor there is reported, too."""
    store.add_organization(Organization(0, "b", ()))
    store.add_user("b", "alice")
    register(store, new(ALICE, CA), NOW)
    added = register(store, replace(new(ALICE, CA), organization="b"), NOW)
    assert added.elsewhere == ["acme"]
    assert added.problem is not None
    assert added.problem.reason is Reason.TRUST_ANCHORS_MISSING


def test_leaf_that_is_revoked_is_registered_and_reported(store: Store) -> None:
    """The operator may have a newer CRL to add."""
    store.add_crl(Crl(CA.crl(BOB, number=2, **{**CRL_LIFE, "this_update": NOW})), NOW)
    problem = register(store, new(BOB, CA), NOW).problem
    assert problem is not None
    assert problem.reason is Reason.CERTIFICATE_REVOKED


def test_leaf_that_its_organization_does_not_accept_is_registered_and_reported(store: Store) -> None:
    """By the organization's settings, as a check would refuse it."""
    change_organization(store, "acme", OrganizationChange(path=PathChange(explicit_policy=True)))
    problem = register(store, new(ALICE, CA), NOW).problem
    assert problem is not None
    assert problem.reason is Reason.POLICY_NOT_ALLOWED


@pytest.mark.parametrize(
    ("minted", "message"),
    [
        ((ALICE, BOB), "2 certificates of users"),
        ((ROOT, CA), "no certificate of a user"),
        ((CA,), "a CA certificate, not a user's"),
        ((Authority.root("selfish", **LIFE),), "a CA certificate"),
        ((EXPIRED,), "the certificate expired on"),
    ],
    ids=["two leaves", "no leaf", "a CA", "a root", "expired"],
)
def test_certificates_without_one_usable_leaf_are_refused(
    store: Store, minted: tuple[Minted, ...], message: str
) -> None:
    """Nothing is registered."""
    with pytest.raises(ConfigError, match=message):
        register(store, new(*minted), NOW)
    assert store.registrations() == []


def test_leaf_is_the_one_that_issued_none_of_the_others() -> None:
    """In any order; a single certificate is the leaf, whatever it is called."""
    leaf, chain = split_leaf(new(ROOT, ALICE, CA).certificates, "a.pem")
    assert (leaf.der, [ca.der for ca in chain]) == (ALICE.der, [ROOT.der, CA.der])
    assert split_leaf(new(BOB).certificates, "a.pem")[0].der == BOB.der


def test_registration_is_retired_for_good(store: Store) -> None:
    """From the moment given on."""
    key = register(store, new(ALICE), NOW).registration.registration.id
    assert retire(store, key, NOW).registration.state(NOW) is RegistrationState.RETIRED


def test_several_are_registered_or_none(store: Store) -> None:
    """One that cannot be keeps the others out, also where only the directory can say so."""
    for second in (new(CA), replace(new(BOB, CA), user="nobody"), replace(new(BOB, CA), label="x" * 65)):
        with pytest.raises((ConfigError, StoreError)):
            register_all(store, [new(ALICE, CA), second], NOW)
        assert store.registrations() == []
    added = register_all(store, [new(ALICE, CA), new(BOB, CA), new(ALICE, CA)], NOW)
    assert [each.new for each in added] == [True, True, False]
    assert added[0].registration == added[2].registration
    assert [each.problem for each in added] == [None, None, None]


def test_same_registration_with_other_words_is_refused(store: Store) -> None:
    """What is there is not changed by adding it."""
    register(store, new(ALICE, CA), NOW)
    for other in ({"label": "phone"}, {"valid_until": NOW + timedelta(days=9)}, {"valid_from": NOW}):
        with pytest.raises(StoreError, match="registered already, as 1"):
            register(store, replace(new(ALICE, CA), **other), NOW)  # type: ignore[arg-type]


def test_what_is_changed_of_a_registration_is_said_to_fail_where_it_does(store: Store) -> None:
    """As for one that is added; the other settings stay."""
    key = register(store, new(ALICE, CA), NOW).registration.registration.id
    store.add_crl(Crl(CA.crl(ALICE, number=2, **{**CRL_LIFE, "this_update": NOW})), NOW)
    changed = change_registration(store, key, {"valid_until": NOW + timedelta(days=9)}, NOW)
    assert changed.problem is not None
    assert changed.problem.reason is Reason.CERTIFICATE_REVOKED
    registration = changed.registration.registration
    assert (registration.label, registration.valid_until) == ("laptop", NOW + timedelta(days=9))


def test_registration_is_reinstated_for_its_user_alone(store: Store) -> None:
    """Unless another of the same leaf counts for the user meanwhile."""
    first = register(store, new(ALICE, CA), NOW).registration.registration.id
    retire(store, first, NOW)
    assert reinstate(store, first, NOW).registration.registration.state(NOW) is RegistrationState.ACTIVE
    retire(store, first, NOW)
    register(store, new(ALICE, CA), NOW)
    with pytest.raises(StoreError, match="registered already, as 2"):
        reinstate(store, first, NOW)
    assert store.registration(first).registration.state(NOW) is RegistrationState.RETIRED
