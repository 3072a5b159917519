"""PostgreSQL's schema: made by its owner, once, and the tables of the code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from support.directory import execute
from support.postgresql import NUMBERS, new_url, server

from authz.directory import Store
from authz.directory.database import VERSION
from authz.directory.databases import database_of
from authz.directory.postgresql import migrate, migrations
from authz.directory.schema import metadata
from authz.errors import StoreError

pytestmark = pytest.mark.slow


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database, without a directory."""
    name = f"empty{next(NUMBERS)}"
    server().psql(f"CREATE DATABASE {name}")
    yield server().url(name)
    server().psql(f"DROP DATABASE {name} WITH (FORCE)")


def test_version_is_the_newest_migrations() -> None:
    """Both dialects have the same one."""
    assert ScriptDirectory(str(Path(next(iter(migrations.__path__))))).get_heads() == [VERSION]


def test_schema_of_the_migrations_is_the_codes() -> None:
    """No table, column, index or type of one is missing in the other, but for a foreign key.

    With one, a decision whose headers another replica deletes at the same moment could not be written.
    """
    engine = sa.create_engine(new_url().replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    options = {"include_name": lambda name, kind, _: (kind, name) != ("table", "alembic_version")}
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    kinds = {"add_table", "remove_table", "add_column", "remove_column", "add_fk", "remove_fk", "modify_nullable"}
    found = [one for one in differences if isinstance(one, list) or one[0] in kinds]
    assert [one[1].elements[0].target_fullname for one in found] == ["presentations.id"]  # type: ignore[union-attr]


def test_every_text_is_compared_and_sorted_by_its_bytes() -> None:
    """As over SQLite; an index of it is right whatever locale the server has."""
    query = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type IN ('character varying', 'text', 'character') AND collation_name IS DISTINCT FROM 'C'"
    )
    assert [row for row in execute(new_url(), query) if row[0] != "alembic_version"] == []


def test_migration_again_changes_nothing(url: str) -> None:
    """The second start finds everything done."""
    database = database_of(url)
    with pytest.raises(StoreError, match="there is no directory"):
        Store(url)
    database.migrate()
    before = execute(url, "SELECT * FROM directory_state")
    database.migrate()
    assert execute(url, "SELECT * FROM directory_state") == before


def test_simultaneous_starts_all_succeed(url: str) -> None:
    """One migrates, the others wait."""
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(database_of(url).migrate) for _ in range(4)]:
            done.result(60)
    database_of(url).check()


def test_migration_that_fails_leaves_nothing(url: str) -> None:
    """Half a schema is worse than none."""
    execute(url, "CREATE TABLE users (id bigint)")
    with pytest.raises(StoreError):
        database_of(url).migrate()
    assert execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("users",)]


def test_database_of_another_encoding_is_an_error() -> None:
    """It could not hold every name."""
    name = f"latin{next(NUMBERS)}"
    server().psql(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(StoreError, match="LATIN1") as caught:
        database_of(server().url(name)).migrate()
    assert "UTF8" in caught.value.hint


def test_directory_of_a_later_version_is_migrated_by_no_earlier_one(url: str) -> None:
    """It says whose it is."""
    database = database_of(url)
    database.migrate()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="another version"):
        database.migrate()


def test_later_schema_says_the_oldest_version_that_can_use_it(url: str) -> None:
    """A replica of before starts again while the others are replaced, unless the schema says that it cannot."""
    database = database_of(url)
    database.migrate()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    database.check()
    Store(url).close()
    execute(url, "UPDATE alembic_version SET oldest = '9999'")
    with pytest.raises(StoreError, match="later version"):
        Store(url)


def test_migration_that_would_have_readers_wait_gives_way_and_tries_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a lock that it waits for, every SELECT waits as well."""
    monkeypatch.setattr(migrate, "TRY_SECONDS", 0)
    database = database_of(url)
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as other:
        other.execute("BEGIN")
        other.execute(f"SELECT pg_advisory_xact_lock({migrate.LOCK})")
        waits: list[float] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                other.execute("COMMIT")

        monkeypatch.setattr(migrate.time, "sleep", wait)
        database.migrate()
    assert waits == [0, 0]


def test_lock_that_is_never_given_is_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some tries, with what to do."""
    monkeypatch.setattr(migrate, "TRIES", 2)
    monkeypatch.setattr(migrate, "TRY_SECONDS", 0)
    with contextlib.closing(psycopg.connect(url)) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({migrate.LOCK})")
        with pytest.raises(StoreError, match="another transaction") as caught:
            database_of(url).migrate()
    assert "end the transaction" in caught.value.hint
