"""Users of organizations: added, changed, removed. Every function raises `StoreError`."""

from __future__ import annotations

from dataclasses import replace

from authz.directory import Store
from authz.directory.users import get_user, set_user
from authz.model import Enforcement, User

add_user, remove_user = Store.add_user, Store.remove_user


def change_user(
    store: Store, organization: str, name: str, *, enforcement: Enforcement | None, active: bool | None
) -> User:
    """Change what is given of a user; None leaves it."""
    with store.transaction() as connection:
        user = get_user(connection, organization, name)
        active = user.active if active is None else active
        changed = replace(user, enforcement=enforcement or user.enforcement, active=active)
        set_user(connection, changed)
    return changed
