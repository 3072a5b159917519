"""The queries that several parts of the directory make."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from authz import pki
from authz.directory.schema import hosts, organizations, registrations, users
from authz.errors import Problem, StoreError

if TYPE_CHECKING:
    from authz.pki import Name

MAX_CANDIDATES: Final = 5
"""SHA-256 that an error lists where several begin alike."""

_is_beginning: Final = re.compile(r"[0-9a-fA-F]{1,64}").fullmatch


def begins(column: sa.ColumnElement[bytes], beginning: str) -> sa.ColumnElement[bool]:
    """Whether a SHA-256, in hexadecimal, begins so: a range of its index. Raises `StoreError` for other digits."""
    if not _is_beginning(beginning):
        raise StoreError(f"no SHA-256 begins with {beginning!r}", hint="it is written in 1 to 64 hexadecimal digits")
    return column.between(bytes.fromhex(beginning.ljust(64, "0")), bytes.fromhex(beginning.ljust(64, "f")))


def only(digests: Collection[bytes], what: str, beginning: str, kind: Problem) -> bytes:
    """The one SHA-256 of those that begin so. Raises `StoreError` if there are none or several, and names those."""
    if len(digests) == 1:
        return next(iter(digests))
    if not digests:
        raise StoreError(f"no {what} has a SHA-256 that begins with {beginning}", kind=kind)
    listed = ", ".join(digest.hex() for digest in sorted(digests)[:MAX_CANDIDATES])
    more = ", …" if len(digests) > MAX_CANDIDATES else ""
    message = f"{len(digests)} SHA-256 begin with {beginning}: {listed}{more}"
    raise StoreError(message, hint="give more digits of the one that is meant")


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


def distinct(connection: sa.Connection, column: sa.Column[Any]) -> Iterator[Any]:
    """The different values of a column with an index, in their order, without NULL: a look-up each, and no scan."""
    return connection.execute(sa.select(distinct_values(column))).scalars()


def distinct_values(column: sa.Column[Any]) -> sa.Subquery:
    """The same as the `value` of rows."""
    first = sa.select(column).order_by(column).limit(1)
    values = sa.select(first.where(column.is_not(None)).scalar_subquery().label("value")).cte(
        "distinct_values", recursive=True
    )
    following = first.where(column > values.c.value).scalar_subquery()
    values = values.union_all(sa.select(following).where(values.c.value.is_not(None)))
    return sa.select(values.c.value).where(values.c.value.is_not(None)).subquery()


def distinct_names(connection: sa.Connection, column: sa.Column[Any]) -> dict[Name, list[bytes]]:
    """The names in a column of DER with an index; under each all DER that is the same name (RFC 5280 section 7.1)."""
    names: dict[Name, list[bytes]] = {}
    for value in distinct(connection, column):
        with suppress(ValueError):
            names.setdefault(pki.Name.read(value), []).append(value)
    return names


def hosts_of(organization_id: int) -> sa.Select[tuple[str]]:
    """The hosts of one organization."""
    return sa.select(hosts.c.host).where(hosts.c.organization_id == organization_id)


def organization_by_host(host: str) -> sa.Select[Any]:
    """The organization that has a host."""
    return sa.select(organizations).join(hosts).where(hosts.c.host == host)


def named_registrations(**wanted: object) -> sa.Select[Any]:
    """Registrations with the names of their organization and user, narrowed by the columns that are given."""
    query = sa.select(registrations, organizations.c.name.label("organization"), users.c.name.label("user_name"))
    query = query.join(organizations, organizations.c.id == registrations.c.organization_id)
    query = query.join(users, users.c.id == registrations.c.user_id)
    return query.where(*(registrations.c[key] == value for key, value in wanted.items()))
