"""Statements that are compiled once read what SQLAlchemy reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import sqlalchemy as sa

from authz.directory import Store
from authz.directory.prepared import MAX_KEYS, many, prepared, prepared_many
from authz.directory.schema import hosts, organizations
from authz.model import Organization

HOSTS = tuple(f"h{number}.test" for number in range(MAX_KEYS + 3))


@pytest.fixture
def connection(store: Store) -> Iterator[sa.Connection]:
    """A directory with one organization of many hosts."""
    store.add_organization(Organization(0, "many", HOSTS))
    with closing(store), store.reading() as reading:
        yield reading


def by_host(count: int) -> sa.Select[tuple[str]]:
    """The hosts among so many."""
    return sa.select(hosts.c.host).where(sa.or_(*(hosts.c.host == sa.bindparam(f"a{at}") for at in range(count))))


@pytest.mark.parametrize("count", [0, 1, 2, 3, MAX_KEYS - 1, MAX_KEYS, MAX_KEYS + 3])
def test_rows_of_any_number_of_keys_are_read(connection: sa.Connection, count: int) -> None:
    """In statements of a few sizes; a key for which there is no row adds none."""
    rows = many(by_host, connection, [("none.test",), *((host,) for host in HOSTS[:count])])
    assert sorted({row.host for row in rows}) == sorted(HOSTS[:count])


def test_row_has_its_columns_by_name_and_in_the_types_of_the_schema(connection: sa.Connection) -> None:
    """As SQLAlchemy gives them: SQLite itself knows no boolean."""
    query = sa.select(organizations).where(organizations.c.name == sa.bindparam("name"))
    (row,) = prepared(query, connection.dialect).rows(connection, name="many")
    (expected,) = connection.execute(query, {"name": "many"})
    assert row._asdict() == expected._asdict()
    assert row.active is True


def test_statement_is_compiled_once(connection: sa.Connection) -> None:
    """For each number of keys."""
    assert prepared_many(by_host, 2, connection.dialect) is prepared_many(by_host, 2, connection.dialect)
    assert prepared_many(by_host, 2, connection.dialect) is not prepared_many(by_host, 4, connection.dialect)
