"""Anchors and intermediates, of one organization or of all."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from support.certificates import Authority, Minted

from authz.directory import Store
from authz.directory.authorities import known_authorities
from authz.directory.crls import known_cas
from authz.directory.schema import anchors
from authz.errors import Problem, StoreError
from authz.pki import Certificate

ROOT = Authority.root()
CA = ROOT.intermediate()


def parsed(minted: Minted) -> Certificate:
    """A minted certificate, read."""
    return Certificate.parse(minted.der)


def test_anchors_are_an_organizations_or_shared(store: Store) -> None:
    """Added once, listed with their owner, removed by both."""
    assert store.add_anchors("acme", [parsed(ROOT), parsed(ROOT)]) == [parsed(ROOT)]
    assert store.add_anchors(None, [parsed(ROOT)]) == [parsed(ROOT)]
    assert store.add_anchors(None, [parsed(ROOT)]) == []
    assert [one.organization for one in store.anchors("acme")] == ["acme", None]
    store.remove_anchor(None, ROOT.sha256)
    with pytest.raises(StoreError):
        store.remove_anchor(None, ROOT.sha256)
    assert [one.organization for one in store.anchors()] == ["acme"]


def test_intermediates_are_kept_apart_from_anchors(store: Store) -> None:
    """Known is not trusted."""
    assert store.add_intermediates("acme", [parsed(CA)]) == [parsed(CA)]
    assert store.anchors() == []
    assert [one.certificate.der for one in store.intermediates("acme")] == [CA.der]
    store.remove_intermediate("acme", CA.sha256)
    assert store.intermediates() == []


@pytest.mark.parametrize("owner", ["acme", None])
def test_authority_that_cannot_be_read_is_named_and_can_be_removed(store: Store, owner: str | None) -> None:
    """It denies its organization, or all: a list says which it is."""
    store.add_anchors(owner, [Certificate.parse(ROOT.der)])
    with store.transaction() as connection:
        connection.execute(sa.update(anchors).values(der=b"\x30\x00"))
        assert known_authorities(connection) == [b"\x30\x00"]
        assert known_cas(connection) == []
    for asked in ("acme", None):
        with pytest.raises(StoreError) as caught:
            store.anchors(asked)
        assert ROOT.sha256.hex() in str(caught.value)
        assert caught.value.kind is Problem.CA_UNREADABLE
        assert (caught.value.about["what"], caught.value.about["organization"]) == ("anchor", owner)
    store.remove_anchor(owner, ROOT.sha256)
    assert list(store.anchors("acme")) == []


def test_known_authorities_come_in_the_order_in_which_they_were_stored(store: Store) -> None:
    """Of all organizations, anchors first, and each once: of two keys that verify one CRL the first stored counts."""
    cas = [parsed(ROOT.intermediate()) for _ in range(4)]
    store.add_intermediates(None, cas)
    store.add_intermediates("acme", [*reversed(cas), parsed(CA)])
    store.add_anchors("acme", [parsed(ROOT)])
    with store.reading() as connection:
        assert known_authorities(connection) == [ROOT.der, *(ca.der for ca in cas), CA.der]
