"""Users of an organization, by names that compare byte for byte."""

from __future__ import annotations

from dataclasses import replace

import pytest

from authz.directory import Store
from authz.errors import Problem, StoreError
from authz.model import Enforcement


def test_user_names_differ_by_case(store: Store) -> None:
    """Byte for byte."""
    store.add_user("acme", "Alice")
    assert [one.name for one in store.users("acme")] == ["Alice", "alice"]


def test_user_gets_the_organizations_default(store: Store) -> None:
    """Unless something else is said."""
    store.set_organization(replace(store.organization("acme"), default_enforcement=Enforcement.OBSERVE))
    assert store.add_user("acme", "bob").enforcement is Enforcement.OBSERVE
    assert store.add_user("acme", "carol", Enforcement.OFF).enforcement is Enforcement.OFF


def test_user_changed_is_stored(store: Store) -> None:
    """Enforcement and activity."""
    changed = replace(store.user("acme", "alice"), enforcement=Enforcement.OFF, active=False)
    store.set_user(changed)
    assert store.user("acme", "alice") == changed


@pytest.mark.parametrize("verb", ["user", "remove_user"])
def test_unknown_user_is_an_error_that_names_both(store: Store, verb: str) -> None:
    """Whatever the verb."""
    with pytest.raises(StoreError) as caught:
        getattr(store, verb)("acme", "nobody")
    assert caught.value.kind is Problem.USER_UNKNOWN
    assert caught.value.about == {"organization": "acme", "user": "nobody"}
