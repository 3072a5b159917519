"""A CRL that is added says whose certificates it lists, and whether it is of any use now."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.command_world import ALICE, BOB, CA, CRL_LIFE, NOW

from authz.admin.crls import add_crl, request_fetch
from authz.directory import Store
from authz.errors import Problem, StoreError
from authz.pki import Certificate, Crl


def test_crl_that_lists_registered_certificates_names_their_registrations(store: Store) -> None:
    """Those alone."""
    for minted in (ALICE, BOB):
        store.register("acme", "alice", Certificate.parse(minted.der), now=NOW)
    crl = Crl(CA.crl(BOB, number=2, **{**CRL_LIFE, "this_update": NOW}))
    added = add_crl(store, crl, NOW)
    assert [listed.leaf.der for listed in added.listed] == [BOB.der]
    assert (added.stored.crl, added.outdated) == (crl, False)


@pytest.mark.parametrize("next_update", [NOW - timedelta(seconds=1), NOW + timedelta(hours=1)])
def test_crl_out_of_date_is_kept_and_reported(store: Store, next_update: object) -> None:
    """From the moment after its nextUpdate on."""
    life = {"this_update": NOW - timedelta(minutes=9), "next_update": next_update}
    assert add_crl(store, Crl(CA.crl(number=2, **life)), NOW).outdated is (next_update < NOW)  # type: ignore[operator]


def test_fetch_of_an_unknown_source_is_refused(store: Store) -> None:
    """Of every source, where there are none, it is nothing."""
    assert request_fetch(store, None, NOW) == []
    with pytest.raises(StoreError) as caught:
        request_fetch(store, "CN=Nobody", NOW)
    assert caught.value.kind is Problem.CRL_SOURCE_UNKNOWN
