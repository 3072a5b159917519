"""Look-ups that every verb of the store makes, inside its transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from authz.directory.schema import organizations, registrations, users
from authz.errors import StoreError
from authz.model import Organization


def inserted_key(result: sa.CursorResult[Any]) -> int:
    """The key that the database gave a new row. Raises `StoreError`."""
    inserted = result.inserted_primary_key
    if inserted is None:
        raise StoreError("the directory gave no key")
    return int(inserted[0])


def find(connection: sa.Connection, table: sa.Table, **wanted: object) -> sa.Row[Any] | None:
    """The first row in which every column named has the value given, or None."""
    return connection.execute(sa.select(table).where(*(table.c[key] == value for key, value in wanted.items()))).first()


def require_organization(connection: sa.Connection, name: str) -> sa.Row[Any]:
    """The organization of that name. Raises `StoreError` without one."""
    found = find(connection, organizations, name=name)
    if found is None:
        raise StoreError(f"there is no organization {name}", hint=f"add it with 'authz org add {name} --host HOST'")
    return found


def require_user(connection: sa.Connection, organization: str, name: str) -> sa.Row[Any]:
    """The user of that name in that organization. Raises `StoreError` without either."""
    owner = require_organization(connection, organization)
    found = find(connection, users, organization_id=owner.id, name=name)
    if found is None:
        raise StoreError(
            f"{organization} has no user {name}", hint=f"add him with 'authz user add {organization} {name}'"
        )
    return found


def columns(organization: Organization) -> dict[str, object]:
    """An organization as its row holds it, but for its key and its revisions."""
    token = organization.token
    return {
        "name": organization.name,
        "active": organization.active,
        "binding_scope": organization.binding_scope,
        "default_enforcement": organization.default_enforcement,
        "token_issuer": token.issuer,
        "token_audience": token.audience,
        "token_user_claim": token.user_claim,
        "token_organization_claim": token.organization_claim,
        "token_keys": token.keys,
        "token_type": token.type,
    }


def registration_query(**wanted: object) -> sa.Select[Any]:
    """Registrations with the names of their organization and user, the oldest first; narrowed by what is given."""
    columns = {"id": registrations.c.id, "organization": organizations.c.name, "user": users.c.name}
    columns["sha256"] = registrations.c.sha256
    query = sa.select(registrations, organizations.c.name.label("organization"), users.c.name.label("user_name"))
    query = query.join(organizations, organizations.c.id == registrations.c.organization_id)
    query = query.join(users, users.c.id == registrations.c.user_id).order_by(registrations.c.id)
    return query.where(*(columns[key] == value for key, value in wanted.items()))
