"""Statements compiled once: SQLAlchemy writes and types them, the driver runs them, in a tenth of the time.

To run a statement through SQLAlchemy takes some 60 us, most of them to find what was compiled; the driver takes 4.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa

MAX_KEYS: Final = 32
"""Keys of one statement: as many rows as are read in one transaction."""

Many = Callable[[int], sa.Select[Any]]


@contextmanager
def transaction(connection: sa.Connection, begin: str) -> Iterator[None]:
    """A transaction of the driver's own, which the statement `begin` begins: of SQLAlchemy's it takes a tenth.

    Raises `sqlalchemy.exc.DBAPIError`.
    """
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute(begin)
        try:
            yield
        except BaseException:
            driver.rollback()
            raise
        driver.commit()
    except connection.dialect.loaded_dbapi.Error as error:
        raise sa.exc.DBAPIError(None, None, error) from error


class Prepared:
    """A query, ready for a driver's connection of one dialect; each row has its columns by name."""

    def __init__(self, query: sa.Select[Any], dialect: sa.Dialect) -> None:
        compiled = query.compile(dialect=dialect)
        self._sql = str(compiled)
        self._positions = compiled.positiontup if compiled.positional else None
        self._constants = dict(compiled.params)
        columns = query.selected_columns
        self._row = namedtuple("Row", columns.keys())  # type: ignore[misc]  # noqa: PYI024 - its columns are the query's
        processors = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._processors = [(at, processor) for at, processor in enumerate(processors) if processor is not None]

    def rows(self, connection: sa.Connection, **values: object) -> list[Any]:
        """All rows, read in the transaction that `connection` is in; `values` are those of the bound parameters.

        Raises `sqlalchemy.exc.DBAPIError`.
        """
        driver: Any = connection.connection.driver_connection
        named = self._constants | values
        bound: object = named if self._positions is None else [named[name] for name in self._positions]
        try:
            return list(map(self._typed, driver.execute(self._sql, bound).fetchall()))
        except connection.dialect.loaded_dbapi.Error as error:
            raise sa.exc.DBAPIError(None, None, error) from error

    def _typed(self, raw: Sequence[Any]) -> Any:
        typed = list(raw)
        for at, processor in self._processors:
            typed[at] = processor(typed[at])
        return tuple.__new__(self._row, typed)


@lru_cache
def prepared(query: sa.Select[Any], dialect: sa.Dialect) -> Prepared:
    """That query, compiled at its first use."""
    return Prepared(query, dialect)


@lru_cache
def prepared_many(query: Many, count: int, dialect: sa.Dialect) -> Prepared:
    """What `query` makes of a number of keys, compiled at its first use."""
    return Prepared(query(count), dialect)


def many(query: Many, connection: sa.Connection, keys: Sequence[tuple[object, ...]]) -> list[Any]:
    """The rows of the keys, whose columns are bound as `a0`, `b0`, `a1`, `b1`…, in statements of a few sizes."""
    rows: list[Any] = []
    if connection.dialect.name == "postgresql":
        # Its text holds no NUL: no row has such a name, and it refuses to look for one.
        keys = [key for key in keys if not any(isinstance(value, str) and "\0" in value for value in key)]
    for start in range(0, len(keys), MAX_KEYS):
        part = list(keys[start : start + MAX_KEYS])
        # The last key fills up to the next power of two.
        part += part[-1:] * ((1 << (len(part) - 1).bit_length()) - len(part))
        values = {f"{name}{at}": value for at, key in enumerate(part) for name, value in zip("ab", key, strict=False)}
        rows += prepared_many(query, len(part), connection.dialect).rows(connection, **values)
    return rows
