"""Users are added, changed where something is given, and removed."""

from __future__ import annotations

import pytest

from authz.admin.users import add_user, change_user, remove_user
from authz.directory import Store
from authz.errors import Problem, StoreError
from authz.model import Enforcement


def test_change_leaves_what_it_does_not_name(store: Store) -> None:
    """Enforcement, or whether the user is active."""
    change_user(store, "acme", "alice", enforcement=Enforcement.OBSERVE, active=None)
    changed = change_user(store, "acme", "alice", enforcement=None, active=False)
    assert (changed.enforcement, changed.active) == (Enforcement.OBSERVE, False)
    assert store.user("acme", "alice") == changed


def test_user_unknown_cannot_be_changed_or_removed(store: Store) -> None:
    """The error says which user of which organization."""
    for verb in (lambda: change_user(store, "acme", "bob", enforcement=None, active=True), lambda: remove(store)):
        with pytest.raises(StoreError) as caught:
            verb()
        assert caught.value.kind is Problem.USER_UNKNOWN


def remove(store: Store) -> None:
    """Remove somebody who was added, twice."""
    add_user(store, "acme", "carol")
    remove_user(store, "acme", "carol")
    remove_user(store, "acme", "carol")
