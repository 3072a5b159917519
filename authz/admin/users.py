"""Users of organizations: added, changed, removed. Every function raises `StoreError`."""

from __future__ import annotations

from dataclasses import replace

from authz.admin.audited_store import AuditedStore
from authz.admin.described import described_user
from authz.directory import users
from authz.directory.registrations import list_registrations
from authz.model import Enforcement, User


def add_user(store: AuditedStore, organization: str, name: str, enforcement: Enforcement | None = None) -> User:
    """Add a user; without an enforcement the organization's default applies."""
    with store.change() as change:
        added = users.add_user(change.connection, organization, name, enforcement)
        change.record("add", f"user {name}", organization, after=described_user(added))
    return added


def change_user(
    store: AuditedStore, organization: str, name: str, *, enforcement: Enforcement | None, active: bool | None
) -> User:
    """Change what is given of a user; None leaves it."""
    with store.change() as change:
        user = users.get_user(change.connection, organization, name)
        active = user.active if active is None else active
        changed = replace(user, enforcement=enforcement or user.enforcement, active=active)
        if changed != user:
            users.set_user(change.connection, changed)
            before, after = described_user(user), described_user(changed)
            change.record("change", f"user {name}", organization, before=before, after=after)
    return changed


def remove_user(store: AuditedStore, organization: str, name: str) -> None:
    """Remove a user with the user's registrations."""
    with store.change() as change:
        user = users.get_user(change.connection, organization, name)
        before = described_user(user, list_registrations(change.connection, organization, name))
        users.remove_user(change.connection, organization, name)
        change.record("remove", f"user {name}", organization, before=before)
