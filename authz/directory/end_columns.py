"""What the queries for ends have in common: moments in microseconds, as the columns have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from authz.directory.schema import Moment, organizations, registrations, users
from authz.model import BindingScope, Enforcement, RegistrationKind

NEVER: Final = 1 << 62
"""A moment behind every other."""

ALWAYS: Final = -NEVER

SECOND: Final = 1_000_000
"""A certificate is good through the second of its notAfter, and a registration until its own end."""

NOW, UNTIL, SINCE_LATELY = (sa.bindparam(name, type_=Moment) for name in ("now", "until", "lately"))
IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
IS_CERTIFICATE = registrations.c.kind == RegistrationKind.CERTIFICATE
REQUIRED = users.c.enforcement == Enforcement.REQUIRED
SHARES = organizations.c.binding_scope == BindingScope.ORGANIZATION


def rows_of(connection: sa.Connection, query: sa.Select[Any], values: dict[str, Any]) -> Iterator[sa.Row[Any]]:
    """The rows as they come, some at a time."""
    for some in connection.execute(query, values).partitions(1_000):
        yield from some


def plain(column: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """A moment as its column has it."""
    return sa.type_coerce(column, sa.BigInteger)


def least(first: sa.ColumnElement[int], second: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """The earlier of two moments that are not NULL."""
    return sa.case((second < first, second), else_=first)


def first_end_of_row() -> sa.ColumnElement[int]:
    """The first that is given of a registration's ends; `NEVER` if none is."""
    never = sa.literal_column(str(NEVER), sa.BigInteger)
    columns = registrations.c
    return least(*(sa.func.coalesce(plain(column), never) for column in (columns.retired_at, columns.valid_until)))
