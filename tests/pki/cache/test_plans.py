"""Plans are of one store and one tenant, and bounded."""

from __future__ import annotations

import pytest
from support.certificates import name
from support.revocation_world import CA

from authz.pki import Crl, CrlStore
from authz.pki.cache.plans import PLAN_BYTES, plans_of, put_plan
from authz.pki.revocation.crl_scope import ApplicableCrls, RevocationPlan
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import ALL_REASONS, Points, points_of

PLAN = RevocationPlan((), ())


def points(number: int) -> Points:
    """The implied distribution point of an issuer of that number."""
    return points_of((), Name(name(str(number))))


def test_flood_of_plans_leaves_another_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever points a tenant's CA writes into its leaves, its own plans go; in use or not, a neighbour's stay."""
    monkeypatch.setattr("authz.pki.revocation.crl_store.MAX_REMEMBERED", 100_000)
    store, quiet = CrlStore(), (points(0), False, (b"0",))
    put_plan(store, "quiet", quiet, PLAN)
    for number in range(1_000):
        put_plan(store, "loud", (points(number), False, ()), PLAN)
    assert plans_of(store, "quiet").get(quiet) is PLAN
    assert 10 < len(plans_of(store, "loud")) < 100


def test_another_store_knows_no_plans() -> None:
    """One CRL more may be applicable."""
    store, key = CrlStore([Crl(CA.crl())]), (points(0), False, ())
    put_plan(store, "o", key, PLAN)
    assert plans_of(store, "o").get(key) is PLAN
    assert len(plans_of(CrlStore([*store, Crl(CA.crl(number=2))]), "o")) == 0


def test_plan_weighs_what_its_parts_do() -> None:
    """Each set of CRLs, each certificate above."""
    store, applicable = CrlStore(), ApplicableCrls.of(ALL_REASONS, [Crl(CA.crl())])
    put_plan(store, "o", (points(0), False, ()), PLAN)
    small = plans_of(store, "o").weight
    put_plan(store, "o", (points(0), False, (b"0", b"1")), RevocationPlan((applicable,) * 3, ()))
    assert plans_of(store, "o").weight - small > small + 2 * PLAN_BYTES
