"""A change and what is recorded of it are one transaction, in an actor's name, for the revision that the actor saw."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from support.certificates import NOW
from support.directory import DirectoryStore, new_store

from authz.admin.audited_store import Actor, AuditedStore, local_actor
from authz.admin.users import add_user, change_user, remove_user
from authz.directory.audit import covered, walk
from authz.errors import Problem, StoreError
from authz.model import Enforcement, Organization


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A directory with one organization."""
    name = f"sqlite:///{tmp_path / 'a.db'}"
    store = new_store(name)
    store.add_organization(Organization(0, "acme", ()))
    store.close()
    return name


def revision(store: AuditedStore) -> int:
    """The directory's."""
    with store.reading() as connection:
        return covered(connection)[1]


def test_entry_has_actor_moment_and_values(url: str) -> None:
    """What was before, and what came after."""
    store = AuditedStore(url, Actor("local:7 test", "test"), now=lambda: NOW)
    add_user(store, "acme", "alice")
    change_user(store, "acme", "alice", enforcement=Enforcement.OFF, active=None)
    with store.reading() as connection:
        _, added, changed = walk(connection)
    assert (added.actor, added.via, added.at, added.action, added.object) == (
        "local:7 test", "test", NOW, "add", "user alice",
    )  # fmt: skip
    assert (added.before, added.after) == (None, '{"active":true,"enforcement":"required","name":"alice"}')
    assert changed.before == added.after
    assert changed.after == '{"active":true,"enforcement":"off","name":"alice"}'


def test_change_that_fails_records_nothing(url: str) -> None:
    """The directory is as it was."""
    store = AuditedStore(url)
    before = revision(store)
    with pytest.raises(StoreError):
        remove_user(store, "acme", "bob")

    def fail() -> None:
        with store.change() as change:
            change.record("add", "user x", "acme")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.reading() as connection:
        assert list(walk(connection)) == []
    assert revision(store) == before


def test_change_of_nothing_is_no_change(url: str) -> None:
    """No entry, no revision."""
    store = AuditedStore(url)
    add_user(store, "acme", "alice")
    before = revision(store)
    change_user(store, "acme", "alice", enforcement=Enforcement.REQUIRED, active=True)
    assert revision(store) == before


def test_second_of_two_administrators_with_an_old_revision_is_refused(url: str) -> None:
    """Nothing of the second one's change is stored; the first goes on with the revision of the own change."""
    first, second = DirectoryStore(url), DirectoryStore(url)
    first.expected = second.expected = revision(first)
    add_user(first, "acme", "alice")
    with pytest.raises(StoreError, match="no longer at") as caught:
        add_user(second, "acme", "bob")
    assert caught.value.kind is Problem.DIRECTORY_CHANGED
    add_user(first, "acme", "carol")
    assert [user.name for user in first.users("acme")] == ["alice", "carol"]


def test_local_actor_is_the_user_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and name; by number alone for a user without a name, as in a container."""
    assert local_actor().name == f"local:{os.getuid()} {pwd.getpwuid(os.getuid()).pw_name}"

    def unknown(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert local_actor("apply") == Actor(f"local:{os.getuid()}", "apply")
