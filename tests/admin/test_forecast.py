"""A forecast names what ends first of a registration, its path and its CRLs."""

from __future__ import annotations

from datetime import timedelta

from support.command_world import ALICE, BOB, CA, CRL_LIFE, LIFE, NOW, ROOT

from authz.admin.forecast import Forecast, forecasts
from authz.admin.organizations import OrganizationChange, PathChange, change_organization
from authz.app.config import Settings
from authz.app.crls import CrlSnapshot
from authz.directory import Store
from authz.model import Organization
from authz.pki import Certificate, Crl

SOON = NOW + timedelta(minutes=5)


def forecast(store: Store) -> list[Forecast]:
    """What is foreseen now, with the CRLs of the directory."""
    crls = CrlSnapshot(Settings(database="sqlite:///none.db"), store.crl_store())
    return list(forecasts(store, crls, NOW))


def test_crl_that_expires_first_ends_a_registration(store: Store) -> None:
    """It is named by its issuer."""
    store.register("acme", "alice", Certificate.parse(ALICE.der), now=NOW)
    [row] = forecast(store)
    assert (row.at, row.because) == (CRL_LIFE["next_update"].replace(microsecond=0), "the CRL of CN=CA expires")
    assert (row.organization, row.user, row.subject) == ("acme", "alice", "CN=alice")


def test_leaf_that_expires_before_its_crls_ends_itself(store: Store) -> None:
    """And the registration, where that ends first."""
    short = Certificate.parse(CA.leaf("short", not_before=LIFE["not_before"], not_after=SOON).der)
    store.register("acme", "alice", short, now=NOW)
    store.register("acme", "alice", Certificate.parse(ALICE.der), valid_until=SOON, now=NOW)
    assert [row.because for row in forecast(store)] == ["CN=short expires", "its registration ends"]


def test_registration_that_its_organization_does_not_accept_ends_now(store: Store) -> None:
    """By the organization's settings."""
    change_organization(store, "acme", OrganizationChange(path=PathChange(purpose="1.2.3.4")))
    store.register("acme", "alice", Certificate.parse(ALICE.der), now=NOW)
    [row] = forecast(store)
    assert (row.at, row.because.partition(":")[0]) == (NOW, "extended_key_usage_not_allowed")


def test_registration_that_ended_has_no_forecast_and_one_that_is_refused_ends_now(store: Store) -> None:
    """Revoked, and without an anchor."""
    store.retire(store.register("acme", "alice", Certificate.parse(ALICE.der), now=NOW).registration.id, NOW)
    store.register("acme", "alice", Certificate.parse(BOB.der), now=NOW)
    store.add_crl(Crl(CA.crl(BOB, number=2, **{**CRL_LIFE, "this_update": NOW})), NOW)
    store.add_organization(Organization(0, "b", ()))
    store.add_user("b", "bob")
    store.register("b", "bob", Certificate.parse(BOB.der), now=NOW)
    rows = forecast(store)
    assert [row.at for row in rows] == [NOW, NOW]
    assert [row.because.partition(":")[0] for row in rows] == ["certificate_revoked", "trust_anchors_missing"]
    store.remove_anchor("acme", ROOT.sha256)
    assert forecast(store)[0].because.startswith("trust_anchors_missing")
