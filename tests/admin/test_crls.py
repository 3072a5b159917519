"""A CRL that is added says whose certificates it lists, and whether it is of any use now."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.certificates import Minted
from support.command_world import ALICE, BOB, CA, CRL_LIFE, LIFE, NOW, ROOT
from support.revocation_world import ONE, TWO, at, idp, points

from authz.admin.crls import add_crl, remove_crl, request_fetch
from authz.directory import Store
from authz.errors import Problem, Refused, StoreError
from authz.pki import Certificate, Crl


def test_crl_that_lists_registered_certificates_names_their_registrations(store: Store) -> None:
    """Those alone."""
    for minted in (ALICE, BOB):
        store.register("acme", "alice", Certificate.parse(minted.der), now=NOW)
    crl = Crl(CA.crl(BOB, number=2, **{**CRL_LIFE, "this_update": NOW}))
    added = add_crl(store, crl, NOW)
    assert [listed.leaf.der for listed in added.listed] == [BOB.der]
    assert (added.stored.crl, added.outdated) == (crl, False)


def test_ca_of_another_tenant_whose_name_cannot_be_read_stops_no_crl(store: Store) -> None:
    """It came with a registration, and nothing is looked at but where it stands."""
    odd = ROOT.intermediate("Odd", **LIFE)
    name = odd.certificate.subject.public_bytes()
    spoiled = Certificate.parse(odd.der.replace(name, name.replace(b"Odd", b"\xff\xff\xff")))
    with pytest.raises(Refused):
        spoiled.subject  # noqa: B018 - raises
    store.register("acme", "alice", Certificate.parse(ALICE.der), [spoiled], now=NOW)
    crl = Crl(CA.crl(**NEWER))
    assert add_crl(store, crl, NOW).stored.crl == crl


@pytest.mark.parametrize("next_update", [NOW - timedelta(seconds=1), NOW + timedelta(hours=1)])
def test_crl_out_of_date_is_kept_and_reported(store: Store, next_update: object) -> None:
    """From the moment after its nextUpdate on."""
    life = {"this_update": NOW - timedelta(minutes=9), "next_update": next_update}
    added = add_crl(store, Crl(CA.crl(number=2, **life)), NOW, anyway=True)  # type: ignore[arg-type]
    assert added.outdated is (next_update < NOW)  # type: ignore[operator]


NEWER = {**CRL_LIFE, "this_update": NOW, "number": 2}
SHARD = CA.leaf("shard", extensions=points(at(ONE)), **LIFE)
DELEGATED = CA.leaf("delegated", extensions=points(at(ONE, by="Other")), **LIFE)


@pytest.mark.parametrize(
    ("scope", "leaf", "unmet"),
    [
        ([], ALICE, ""),
        (idp(only="users"), ALICE, ""),
        (idp(ONE), SHARD, ""),
        (idp(ONE, only="users"), ALICE, ONE.value),
        (idp(TWO), SHARD, TWO.value),
        (idp(ONE), DELEGATED, ONE.value),
    ],
)
def test_crl_that_no_known_certificate_points_to_is_reported(
    store: Store, scope: list[object], leaf: Minted, unmet: str
) -> None:
    """As step-ca issues it by default: with a distribution point that no certificate names."""
    store.register("acme", "alice", Certificate.parse(leaf.der), now=NOW)
    assert add_crl(store, Crl(CA.crl(extensions=scope, **NEWER)), NOW).unmet == unmet  # type: ignore[arg-type]


def test_crl_that_is_removed_names_whose_certificates_it_listed(store: Store) -> None:
    """And how many CRLs of its issuer are left."""
    store.register("acme", "alice", Certificate.parse(ALICE.der), now=NOW)
    whole, part = Crl(CA.crl(ALICE, **NEWER)), Crl(CA.crl(extensions=idp(ONE), **NEWER))
    for crl in (whole, part):
        add_crl(store, crl, NOW)
    removed = remove_crl(store, whole.sha256)
    assert (removed.stored.crl.sha256, removed.left) == (whole.sha256, 1)
    assert [listed.leaf.der for listed in removed.listed] == [ALICE.der]
    assert remove_crl(store, part.sha256).left == 0


def test_fetch_of_an_unknown_source_is_refused(store: Store) -> None:
    """Of every source, where there are none, it is nothing."""
    assert request_fetch(store, None, NOW) == []
    with pytest.raises(StoreError) as caught:
        request_fetch(store, "CN=Nobody", NOW)
    assert caught.value.kind is Problem.CRL_SOURCE_UNKNOWN
