"""What both databases do alike: the check of the version, and the statement that says what to do on a conflict."""

from __future__ import annotations

import pytest
from support.directory import SQLITE_ALONE, execute, new_store

from authz.directory import Store
from authz.directory.database import VERSION, insert_of
from authz.directory.databases import database_of
from authz.directory.schema import hosts
from authz.errors import StoreError


def test_directory_is_made_once(url: str) -> None:
    """The second time it is left as it is."""
    database = database_of(url)
    database.create()
    assert not database.create()
    database.check()
    version = database.version()
    assert version is not None
    assert version.number == VERSION


@pytest.mark.parametrize(
    ("version", "sentence", "hint"),
    [("0005", "an earlier version of authz (0005;", "authz db upgrade"), ("9999", "a later version", "install that")],
)
def test_directory_of_another_version_is_refused(url: str, version: str, sentence: str, hint: str) -> None:
    """It says which it is, and what to do."""
    new_store(url).close()
    statement = f"UPDATE alembic_version SET version_num = '{version}'"
    if url.startswith("postgresql:"):
        statement += f", oldest = '{version}'"
    execute(url, statement)
    with pytest.raises(StoreError) as caught:
        Store(url)
    assert sentence in str(caught.value)
    assert hint in caught.value.hint


@SQLITE_ALONE
def test_registrations_that_were_not_read_yet_are_an_error(url: str) -> None:
    """An upgrade goes on, or was interrupted."""
    new_store(url).close()
    execute(url, "UPDATE directory_state SET unread_after = 0")
    with pytest.raises(StoreError, match="not every registration") as caught:
        database_of(url).check()
    assert caught.value.hint == "finish it: authz db upgrade"


def test_conflict_is_answered_by_the_dialects_own_insert(store: Store) -> None:
    """SQLAlchemy has one for each."""
    with store.transaction() as connection:
        statement = insert_of(connection)(hosts).values(host="acme.example.test", organization_id=1)
        connection.execute(statement.on_conflict_do_nothing())
        renamed = statement.on_conflict_do_update(index_elements=[hosts.c.host], set_={"host": "other.test"})
        connection.execute(renamed)
    assert store.organization("acme").hosts == ("other.test",)
