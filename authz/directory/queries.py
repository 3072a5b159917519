"""The queries that several parts of the directory make."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from authz.directory.schema import hosts, organizations, registrations, users
from authz.errors import StoreError


def inserted_key(result: sa.CursorResult[Any]) -> int:
    """The key that the database gave a new row. Raises `StoreError`."""
    inserted = result.inserted_primary_key
    if inserted is None:
        raise StoreError("the directory gave no key")
    return int(inserted[0])


def find(connection: sa.Connection, table: sa.Table, **wanted: object) -> sa.Row[Any] | None:
    """The first row in which every column named has the value given, or None."""
    return connection.execute(sa.select(table).where(*(table.c[key] == value for key, value in wanted.items()))).first()


def behind(query: sa.Select[Any], column: sa.ColumnElement[Any], after: object) -> sa.Select[Any]:
    """The rows of a list in the order of a column whose values differ: those behind `after`, or for None all."""
    return (query if after is None else query.where(column > after)).order_by(column)


def hosts_of(organization_id: int) -> sa.Select[tuple[str]]:
    """The hosts of one organization."""
    return sa.select(hosts.c.host).where(hosts.c.organization_id == organization_id)


def organization_by_host(host: str) -> sa.Select[Any]:
    """The organization that has a host."""
    return sa.select(organizations).join(hosts).where(hosts.c.host == host)


def registrations_of(organization_id: int, sha256: bytes) -> sa.Select[Any]:
    """Every registration of one leaf in one organization, the oldest first."""
    wanted = (registrations.c.organization_id == organization_id) & (registrations.c.sha256 == sha256)
    return sa.select(registrations).where(wanted).order_by(registrations.c.id)


def named_registrations(**wanted: object) -> sa.Select[Any]:
    """Registrations with the names of their organization and user, narrowed by what is given."""
    columns = {"id": registrations.c.id, "organization": organizations.c.name, "user": users.c.name}
    columns["sha256"] = registrations.c.sha256
    query = sa.select(registrations, organizations.c.name.label("organization"), users.c.name.label("user_name"))
    query = query.join(organizations, organizations.c.id == registrations.c.organization_id)
    query = query.join(users, users.c.id == registrations.c.user_id)
    return query.where(*(columns[key] == value for key, value in wanted.items()))
