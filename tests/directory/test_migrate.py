"""The schema: made by whoever comes first, numbered by triggers, matching the tables in the code."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from authz.directory.engine import open_engine
from authz.directory.migrate import migrate
from authz.directory.migrations.versions import v0001_first
from authz.directory.schema import metadata
from authz.errors import ConfigError, StoreError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A migrated database."""
    path = tmp_path / "a.db"
    migrate(f"sqlite:///{path}")
    return path


def test_schema_of_the_migrations_is_the_codes(file: Path) -> None:
    """No table or column of one is missing in the other."""
    engine = open_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    structural = {"add_table", "remove_table", "add_column", "remove_column"}
    assert [one for one in differences if isinstance(one, tuple) and one[0] in structural] == []


def test_migration_again_changes_nothing(file: Path) -> None:
    """The second start finds everything done."""
    before = schema_of(file)
    migrate(f"sqlite:///{file}")
    assert schema_of(file) == before


def schema_of(file: Path) -> list[tuple[str]]:
    """Every statement that made the schema."""
    with sqlite3.connect(file) as connection:
        found = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return found


def test_new_database_is_its_owners_alone(file: Path) -> None:
    """Nobody else reads who must show which certificate."""
    assert file.stat().st_mode & 0o077 == 0


def test_simultaneous_starts_all_succeed(tmp_path: Path) -> None:
    """Six processes at once: one migrates, the others wait."""
    url = f"sqlite:///{tmp_path / 'many.db'}"
    code = f"from authz.directory.migrate import migrate; migrate({url!r})"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(6)]
    errors = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 6, errors


def test_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Half a schema is worse than none."""
    path = tmp_path / "half.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE crls (id INTEGER)")
    connection.close()
    with pytest.raises(StoreError):
        migrate(f"sqlite:///{path}")
    assert schema_of(path) == [("CREATE TABLE crls (id INTEGER)",)]


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be looked at" * 20])
def test_file_that_is_no_database_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A clear sentence, and the file stays as it is."""
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(StoreError):
        migrate(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_database_of_a_later_version_is_an_error(file: Path) -> None:
    """An older program does not guess."""
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError):
        migrate(f"sqlite:///{file}")


@pytest.mark.parametrize(
    "url", ["postgresql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense", "sqlite:////no/such/folder/a.db"]
)
def test_url_that_cannot_be_used_is_a_configuration_error(url: str) -> None:
    """With the way it is written."""
    with pytest.raises(ConfigError) as caught:
        migrate(url)
    assert caught.value.hint


CHANGES = [
    (
        "INSERT INTO organizations (name, active, binding_scope, default_enforcement, token_user_claim) "
        "VALUES ('z', 1, 'user', 'off', 'sub')",
        "organizations_revision", None,
    ),
    ("UPDATE organizations SET active = 0 WHERE id = 1", "organizations_revision", None),
    ("UPDATE organizations SET token_type = 'at+jwt' WHERE id = 1", "organizations_revision", None),
    ("INSERT INTO hosts VALUES ('h', 1)", "organizations_revision", None),
    ("INSERT INTO users (organization_id, name, enforcement, active) VALUES (1, 'u', 'off', 1)", None, "revision"),
    ("UPDATE users SET active = 0", None, "revision"),
    ("DELETE FROM users", None, "revision"),
    ("INSERT INTO anchors (organization_id, sha256, der) VALUES (1, x'01', x'01')", "trust_revision", "trust_revision"),
    ("INSERT INTO anchors (organization_id, sha256, der) VALUES (NULL, x'01', x'01')", "trust_revision", None),
    (
        "INSERT INTO intermediates (organization_id, sha256, der) VALUES (1, x'01', x'01')",
        "trust_revision", "trust_revision",
    ),
    ("INSERT INTO crls (sha256, signer, der, added_at) VALUES (x'01', x'01', x'01', 0)", "crls_revision", None),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "state", "organization"), CHANGES, ids=[one[0][:30] for one in CHANGES])
def test_every_change_is_numbered_by_the_database_itself(
    file: Path, statement: str, state: str | None, organization: str | None
) -> None:
    """No writer can forget it, not even one with a shell."""
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(CHANGES[0][0].replace("'z'", "'first'"))
        connection.execute("INSERT INTO users (organization_id, name, enforcement, active) VALUES (1, 'a', 'off', 1)")
        before = connection.execute("SELECT revision FROM directory_state").fetchone()[0]
        connection.execute(statement)
        after = connection.execute("SELECT revision FROM directory_state").fetchone()[0]
        assert after == before + 1
        if state:
            assert connection.execute(f"SELECT {state} FROM directory_state").fetchone()[0] == after
        if organization:
            assert connection.execute(f"SELECT {organization} FROM organizations WHERE id = 1").fetchone()[0] == after
    connection.close()


def test_directory_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """With everything in it."""
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        for statement in (*v0001_first.TABLES, "INSERT INTO directory_state (id) VALUES (1)", CHANGES[0][0]):
            connection.execute(statement)
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    connection.close()
    migrate(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM organizations").fetchall() == [("z",)]
        assert connection.execute("SELECT count(*) FROM decisions").fetchall() == [(0,)]
    connection.close()
