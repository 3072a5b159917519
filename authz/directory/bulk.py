"""Many rows in few statements, for an apply of thousands: the caller has compared everything with what is there.

A statement is compiled, and its rows are made the driver's values, before a transaction is begun: within it, the
database does nothing but write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa

from authz.directory.leaf_columns import READ
from authz.directory.schema import organizations, registrations, users
from authz.errors import StoreError

ROWS_EACH: Final = 100
"""Rows that a statement adds where triggers run once for each statement; to plan one for 500 takes longer again."""

_ROW: Final = re.compile(r"\sVALUES\s(\(.*\))", re.DOTALL)
_PARAMETER: Final = re.compile(r"%\((\w+)\)s")


class BulkStatement:
    """A statement for many rows, compiled for one dialect; its bound parameters have the names of the rows' values."""

    def __init__(self, statement: sa.Insert | sa.Update | sa.Delete, dialect: sa.Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._positions = compiled.positiontup if compiled.positional else None
        self._row = _ROW.search(self._sql) if dialect.name == "postgresql" else None
        types = {name: bind.type.dialect_impl(dialect) for name, bind in compiled.binds.items()}
        processors = {name: type_.bind_processor(dialect) for name, type_ in types.items()}
        self._processors: dict[str, Callable[[Any], Any]] = {key: made for key, made in processors.items() if made}

    def values(self, rows: Iterable[Mapping[str, Any]]) -> list[Any]:
        """The rows as the driver wants them."""
        return self.ordered(map(self.typed, rows))

    def typed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row, or a part of it, with its values as the driver wants them."""
        return {**row, **{name: process(row[name]) for name, process in self._processors.items() if name in row}}

    def ordered(self, rows: Iterable[dict[str, Any]]) -> list[Any]:
        """Typed rows as the driver wants them."""
        return list(rows) if self._positions is None else [tuple(map(row.__getitem__, self._positions)) for row in rows]

    def execute(self, connection: sa.Connection, values: Sequence[Any]) -> None:
        """Write what `values` made. Raises `StoreError` if a row that is to be changed or removed is gone."""
        if values:
            written = self._each(connection, values) if self._row is None else self._add(connection, values, self._row)
            if written != len(values):
                raise StoreError(f"{len(values) - written} of {len(values)} rows are gone", hint="nothing was changed")

    def _each(self, connection: sa.Connection, values: Sequence[Any]) -> int:
        return connection.exec_driver_sql(self._sql, values).rowcount

    def _add(self, connection: sa.Connection, values: Sequence[Mapping[str, Any]], found: re.Match[str]) -> int:
        """Add rows by statements of many: a trigger of PostgreSQL takes as long for one row as for hundreds."""
        row, names = _PARAMETER.sub("%s", found[1]), _PARAMETER.findall(found[1])
        head, written = self._sql[: found.start(1)], 0
        for start in range(0, len(values), ROWS_EACH):
            part = values[start : start + ROWS_EACH]
            bound = tuple(chain.from_iterable(map(itemgetter(*names), part)))
            written += connection.exec_driver_sql(head + ", ".join([row] * len(part)), bound).rowcount
        return written


@lru_cache
def bulk(statement: sa.Insert | sa.Update | sa.Delete, dialect: sa.Dialect) -> BulkStatement:
    """That statement, compiled at its first use."""
    return BulkStatement(statement, dialect)


def bound(table: sa.Table, names: Iterable[str]) -> dict[str, Any]:
    """Columns of a table with bound parameters of their names and types."""
    return {name: sa.bindparam(name, type_=table.c[name].type) for name in names}


_OWNER: Final = (
    sa.select(organizations.c.id).where(organizations.c.name == sa.bindparam("organization")).scalar_subquery()
)
_USER: Final = (
    sa.select(users.c.id)
    .where(users.c.organization_id == _OWNER, users.c.name == sa.bindparam("user_name"))
    .scalar_subquery()
)
_DATES: Final = ("valid_from", "valid_until", "retired_at")

ADD_USERS: Final = sa.insert(users).values(organization_id=_OWNER, **bound(users, ("name", "enforcement", "active")))
"""Of an `organization`, by its name."""

ADD_REGISTRATIONS: Final = sa.insert(registrations).values(
    organization_id=_OWNER,
    user_id=_USER,
    **bound(registrations, ("kind", "identity", "anchor_sha256", "sha256", "der", "chain", "chain_sha256", "label")),
    **bound(registrations, (*_DATES, "created_at", *READ)),
)
"""Of an `organization` and a `user_name`, by their names."""


def change(table: sa.Table, *names: str) -> sa.Update:
    """Sets columns of the rows whose id is `row`."""
    return sa.update(table).where(table.c.id == sa.bindparam("row")).values(bound(table, names))


CHANGE_USERS: Final = change(users, "enforcement", "active")
CHANGE_REGISTRATIONS: Final = change(registrations, "label", *_DATES, "chain", "chain_sha256")
RETIRE_REGISTRATIONS: Final = change(registrations, "retired_at")
REMOVE_USERS: Final = sa.delete(users).where(users.c.id == sa.bindparam("row"))
