"""The steps for many users are those whose enforcement is another, of one organization."""

from __future__ import annotations

import pytest

from authz.admin import enforcement as enforcing
from authz.admin.audited_store import AuditedStore
from authz.admin.enforcement import count_changed, enforcement_steps
from authz.errors import Problem, StoreError
from authz.model import Enforcement, Organization


@pytest.fixture
def many(store: AuditedStore) -> AuditedStore:
    """Five users under observe beside alice, who is required; and another organization's."""
    store.add_organization(Organization(0, "other", ()))
    for owner, names in (("acme", "abcde"), ("other", "ab")):
        for name in names:
            store.add_user(owner, name, Enforcement.OBSERVE)
    return store


@pytest.mark.parametrize(("names", "changed"), [(None, "abcde"), (["alice", "c", "a"], "ac"), ([], "")])
def test_users_with_another_enforcement_change(
    many: AuditedStore, monkeypatch: pytest.MonkeyPatch, names: list[str] | None, changed: str
) -> None:
    """All, or those that are named, in however many queries."""
    monkeypatch.setattr(enforcing, "NAMES_AT_ONCE", 2)
    with many.reading() as connection:
        steps = list(enforcement_steps(connection, "acme", names, Enforcement.REQUIRED))
        assert count_changed(connection, "acme", names, Enforcement.REQUIRED) == len(steps)
    assert sorted(step.wanted.user for step in steps) == list(changed)
    assert {step.wanted.organization for step in steps} <= {"acme"}


def test_name_that_is_no_user_is_an_error(many: AuditedStore) -> None:
    """And so is an organization that is not there."""
    with many.reading() as connection:
        with pytest.raises(StoreError) as caught:
            count_changed(connection, "acme", ["a", "zed"], Enforcement.OFF)
        assert caught.value.kind is Problem.USER_UNKNOWN
        with pytest.raises(StoreError):
            count_changed(connection, "none", None, Enforcement.OFF)
