"""Texts that no directory keeps are refused alike over each database, with a sentence."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from support.certificates import NOW, Authority
from support.directory import DirectoryStore

from authz.directory import Store
from authz.directory.schema import registrations, users
from authz.directory.texts import explained
from authz.errors import StoreError
from authz.pki import Certificate

ALICE = Certificate.parse(Authority.root().leaf("alice").der)
NUL = "a\0b"


def test_text_with_nul_is_explained() -> None:
    """And no other one."""
    assert explained(NUL) == r"'a\x00b' has a NUL character, which no directory keeps"
    assert explained("a\n\U0001f600") == ""


def test_label_is_refused(store: DirectoryStore) -> None:
    """And nothing is registered."""
    with pytest.raises(StoreError, match="which no directory keeps") as caught:
        store.register("acme", "alice", ALICE, now=NOW, label=NUL)
    assert "\0" not in str(caught.value)
    assert store.registrations() == []


def test_name_that_is_looked_for_is_refused(store: DirectoryStore) -> None:
    """With the same sentence: PostgreSQL would say that it cannot be used."""
    for verb in (lambda: store.users(NUL), lambda: store.remove_user("acme", NUL), lambda: store.organization(NUL)):
        with pytest.raises(StoreError, match="which no directory keeps"):
            verb()


def test_one_row_of_many_is_refused(store: Store) -> None:
    """And so are the others, for they are one change."""
    values = [{"organization_id": 1, "name": name, "enforcement": "off", "active": True} for name in ("b", NUL)]
    with pytest.raises(StoreError, match="NUL"), store.transaction() as connection:
        connection.execute(sa.insert(users), values)
    with pytest.raises(StoreError, match="NUL"), store.transaction() as connection:
        connection.execute(sa.select(registrations.c.id).where(registrations.c.label.in_(["a", NUL])))
    with store.reading() as connection:
        assert list(connection.execute(sa.select(users.c.name)).scalars()) == ["alice"]
