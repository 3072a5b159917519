"""How SQLite runs what a function asks: the steps of its plans, by EXPLAIN QUERY PLAN."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from authz.directory import Store


def plans(store: Store, query: Callable[[sa.Connection], Iterable[object]]) -> list[str]:
    """The steps of every SELECT that `query` runs until its result is read to the end."""
    asked: list[tuple[str, Any]] = []
    with store.reading() as connection:
        sa.event.listen(connection, "before_cursor_execute", lambda *seen: asked.append((seen[2], seen[3])))
        list(query(connection))
        driver: Any = connection.connection.driver_connection
        selects = [(sql, values) for sql, values in asked if sql.startswith(("SELECT", "WITH"))]
        return [row[3] for sql, values in selects for row in driver.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


def scanned(steps: list[str]) -> list[str]:
    """The steps that read a whole table or index, or sort."""
    tables = [
        step for step in steps if step.startswith("SCAN") and step.split()[1] not in {"CONSTANT", "distinct_values"}
    ]
    return tables + [step for step in steps if "TEMP B-TREE" in step]
