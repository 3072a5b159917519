"""Users of organizations, read and changed within a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from authz.directory import rows
from authz.directory.limits import check_name
from authz.directory.organizations import require_organization
from authz.directory.queries import behind, find, inserted_key
from authz.directory.schema import users
from authz.errors import Problem, StoreError
from authz.model import Enforcement, User


def add_user(connection: sa.Connection, organization: str, name: str, enforcement: Enforcement | None = None) -> User:
    """Add a user; without an enforcement the organization's default applies."""
    check_name("user", name)
    owner = require_organization(connection, organization)
    if find(connection, users, organization_id=owner.id, name=name) is not None:
        raise StoreError(f"{organization} has a user {name} already", kind=Problem.USER_EXISTS)
    chosen = enforcement or Enforcement(owner.default_enforcement)
    values = {"organization_id": owner.id, "name": name, "enforcement": chosen, "active": True}
    return User(inserted_key(connection.execute(sa.insert(users).values(**values))), owner.id, name, chosen)


def set_user(connection: sa.Connection, user: User) -> None:
    """Store a user's enforcement and whether the user is active."""
    values = {"enforcement": user.enforcement, "active": user.active}
    connection.execute(sa.update(users).where(users.c.id == user.id).values(**values))


def list_users(connection: sa.Connection, organization: str, after: str | None = None) -> Iterator[User]:
    """The users of an organization, by name; those behind the name `after`."""
    owner = require_organization(connection, organization)
    query = sa.select(users).where(users.c.organization_id == owner.id)
    return map(rows.user, connection.execute(behind(query, users.c.name, after)))


def get_user(connection: sa.Connection, organization: str, name: str) -> User:
    """One user."""
    return rows.user(require_user(connection, organization, name))


def require_user(connection: sa.Connection, organization: str, name: str) -> sa.Row[Any]:
    """The row of the user of that name in that organization. Raises `StoreError` without either."""
    owner = require_organization(connection, organization)
    row = find(connection, users, organization_id=owner.id, name=name)
    if row is None:
        message = f"{organization} has no user {name}"
        raise StoreError(message, kind=Problem.USER_UNKNOWN, organization=organization, user=name)
    return row


def remove_user(connection: sa.Connection, organization: str, name: str) -> None:
    """Remove a user with the user's registrations."""
    row = require_user(connection, organization, name)
    connection.execute(sa.delete(users).where(users.c.id == row.id))
