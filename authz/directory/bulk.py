"""Many rows in few statements, for an apply of thousands: the caller has compared everything with what is there.

A statement is compiled, and its rows are made the driver's values, before a transaction is begun: within it, the
database does nothing but write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa

from authz.directory.leaf_columns import READ
from authz.directory.schema import organizations, registrations, users
from authz.errors import StoreError

ROWS_EACH: Final = 2_000
"""Rows of a statement of PostgreSQL: its triggers run once for each statement, and take milliseconds."""

_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_ADDED: Final = re.compile(r"\sVALUES\s\((.*)\)(?: RETURNING .*)?\Z", re.DOTALL)


class BulkStatement:
    """A statement for many rows, compiled for one dialect; its bound parameters have the names of the rows' values."""

    def __init__(self, statement: sa.Insert | sa.Update | sa.Delete, dialect: sa.Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        types = {name: bind.type for name, bind in compiled.binds.items()}
        self._names = compiled.positiontup or list(types)
        # Both drivers take bytes as they are.
        processors = {
            name: type_.dialect_impl(dialect).bind_processor(dialect)
            for name, type_ in types.items()
            if not isinstance(type_, sa.LargeBinary)
        }
        self._processors = [(name, process) for name, process in processors.items() if process]
        self._together = not compiled.positional
        declared = {name: type_.compile(dialect) for name, type_ in types.items()}
        self._sql = _of_arrays(str(compiled), declared) if self._together else str(compiled)
        row = itemgetter(*self._names)
        self._row: Callable[[Mapping[str, Any]], tuple[Any, ...]] = row if len(self._names) > 1 else lambda r: (row(r),)

    def values(self, rows: Iterable[Mapping[str, Any]]) -> list[Any]:
        """The rows as the driver wants them."""
        return self.ordered(map(self.typed, rows))

    def typed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row, or a part of it, with its values as the driver wants them."""
        given = ((name, process, row.get(name)) for name, process in self._processors)
        return {**row, **{name: process(value) for name, process, value in given if value is not None}}

    def ordered(self, rows: Iterable[dict[str, Any]]) -> list[Any]:
        """Typed rows as the driver wants them."""
        return list(map(self._row, rows))

    def execute(self, connection: sa.Connection, values: Sequence[Any]) -> None:
        """Write what `values` made. Raises `StoreError` if a row that is to be changed or removed is gone."""
        if values:
            written = self._all(connection, values) if self._together else self._each(connection, values)
            if written != len(values):
                raise StoreError(f"{len(values) - written} of {len(values)} rows are gone", hint="nothing was changed")

    def _each(self, connection: sa.Connection, values: Sequence[Any]) -> int:
        return connection.exec_driver_sql(self._sql, values).rowcount

    def _all(self, connection: sa.Connection, values: Sequence[tuple[Any, ...]]) -> int:
        """By statements of many rows: a trigger of PostgreSQL takes as long for one row as for hundreds."""
        written = 0
        for start in range(0, len(values), ROWS_EACH):
            columns = map(list, zip(*values[start : start + ROWS_EACH], strict=True))
            arrays = dict(zip(self._names, columns, strict=True))
            written += connection.exec_driver_sql(self._sql, arrays).rowcount
        return written


def _of_arrays(sql: str, types: Mapping[str, str]) -> str:
    """A statement of PostgreSQL for one row, as one for the rows in arrays, of which each is a parameter."""
    arrays = ", ".join(f"%({name})b::{type_}[]" for name, type_ in types.items())
    names = ", ".join(f'"{name}"' for name in types)
    source = f"unnest({arrays}) AS given ({names})"
    given = _PARAMETER.sub(r'given."\1"', sql)
    if added := _ADDED.search(given):
        return f"{given[: added.start()]} SELECT {added[1]} FROM {source}"  # noqa: S608 - our statements
    head, where, condition = given.partition(" WHERE ")
    return f"{head} {'USING' if head.startswith('DELETE') else 'FROM'} {source}{where}{condition}"


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
