"""Many rows in one statement: all of them, or an error where one is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from support.certificates import NOW
from support.command_world import ALICE, CA

from authz.directory import Store
from authz.directory.bulk import (
    ADD_REGISTRATIONS,
    ADD_USERS,
    CHANGE_USERS,
    REMOVE_USERS,
    RETIRE_REGISTRATIONS,
    bulk,
)
from authz.directory.leaf_columns import leaf_columns
from authz.errors import StoreError
from authz.model import Enforcement
from authz.pki import Certificate

DATES = {"valid_from": None, "valid_until": None, "retired_at": None, "created_at": NOW}
KIND = {"kind": "certificate", "identity": None, "anchor_sha256": None}
LEAF = {"organization": "acme", "label": "", **DATES, **KIND, **leaf_columns(Certificate.parse(ALICE.der), CA.der)}


def write(store: Store, statement: sa.Insert | sa.Update | sa.Delete, *rows: Mapping[str, Any]) -> None:
    """The rows, in a transaction of their own."""
    with store.transaction() as connection:
        made = bulk(statement, connection.dialect)
        made.execute(connection, made.values(rows))


def test_users_and_registrations_are_added_by_name(store: Store) -> None:
    """A registration finds its user in its own organization."""
    write(
        store,
        ADD_USERS,
        *({"organization": "acme", "name": name, "enforcement": "off", "active": True} for name in "ab"),
    )
    write(store, ADD_REGISTRATIONS, *({**LEAF, "user_name": name} for name in "ab"))
    assert [stored.user for stored in store.registrations()] == ["a", "b"]
    assert store.registrations()[0].registration.chain == (CA.der,)


@pytest.mark.parametrize("name", ["organization", "user_name"])
def test_registration_of_what_is_not_there_is_refused(store: Store, name: str) -> None:
    """The transaction stores nothing."""
    with pytest.raises(StoreError, match="the directory refuses"):
        write(store, ADD_REGISTRATIONS, {**LEAF, "user_name": "alice"}, {**LEAF, "user_name": "alice", name: "x"})
    assert store.registrations() == []


def test_moments_are_stored_as_every_other_writer_stores_them(store: Store) -> None:
    """As numbers that the reader makes moments of again."""
    write(store, ADD_REGISTRATIONS, {**LEAF, "user_name": "alice", "valid_until": NOW})
    write(store, RETIRE_REGISTRATIONS, {"row": store.registrations()[0].registration.id, "retired_at": NOW})
    registration = store.registrations()[0].registration
    assert (registration.valid_until, registration.retired_at) == (NOW, NOW)


def test_row_that_is_gone_is_an_error_and_nothing_is_stored(store: Store) -> None:
    """Of a change, and of a removal."""
    alice = {"row": store.user("acme", "alice").id, "enforcement": "observe", "active": True}
    for statement in (CHANGE_USERS, REMOVE_USERS):
        with pytest.raises(StoreError, match="1 of 2 rows are gone"):
            write(store, statement, alice, {**alice, "row": 99})
    assert store.user("acme", "alice").enforcement is Enforcement.REQUIRED
    write(store, CHANGE_USERS, alice)
    assert store.user("acme", "alice").enforcement is Enforcement.OBSERVE
    write(store, REMOVE_USERS, alice)
    assert store.users("acme") == []


def test_rows_of_several_statements_are_all_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is data, whatever arrays and parameters look like; of a statement that lacks a row, nothing is stored."""
    monkeypatch.setattr("authz.directory.bulk.ROWS_EACH", 2)
    names = ["a", "%s", "{b,NULL}", 'c"\\', "NULL"]
    write(
        store, ADD_USERS, *({"organization": "acme", "name": n, "enforcement": "off", "active": n > "a"} for n in names)
    )
    added = {user.name: user for user in store.users("acme") if user.name != "alice"}
    assert {name: user.active for name, user in added.items()} == {name: name > "a" for name in names}
    changes = [{"row": user.id, "enforcement": "observe", "active": True} for user in added.values()]
    with pytest.raises(StoreError, match="1 of 6 rows are gone"):
        write(store, CHANGE_USERS, *changes, {**changes[0], "row": 99})
    write(store, CHANGE_USERS, *changes)
    assert {user.enforcement for user in store.users("acme") if user.name in added} == {Enforcement.OBSERVE}
    write(store, REMOVE_USERS, *changes)
    assert [user.name for user in store.users("acme")] == ["alice"]
