"""Which database a URL names, and what is wrong with one that cannot be used."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from authz.directory.databases import database_of
from authz.directory.postgresql.database import PostgresqlDatabase
from authz.directory.sqlite.database import SqliteDatabase
from authz.errors import ConfigError


def test_scheme_decides(tmp_path: Path) -> None:
    """Nothing connects yet; both names that libpq reads are PostgreSQL's."""
    assert isinstance(database_of(f"sqlite:///{tmp_path / 'a.db'}"), SqliteDatabase)
    for scheme in ("postgresql", "postgres"):
        assert isinstance(database_of(f"{scheme}://user@localhost/a"), PostgresqlDatabase)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:secret@host/a",
        "postgresql+asyncpg://user:secret@host/a",
        "postgresql:/user:secret@host",
        "postgresql://user:secret@host/a?nonsense=1",
        "postgresql://user:secret@[::1/a",
        "postgresql://user:secret@10.1.1.1/a",
        "nonsense:secret",
    ],
)
def test_url_that_cannot_be_used_is_an_error_without_its_password(url: str) -> None:
    """Whatever is wrong with it, it says how a URL is written."""
    with pytest.raises(ConfigError) as caught:
        database_of(url)
    assert "secret" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.hint


def test_missing_driver_is_an_error_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra: SQLite needs none."""
    for name in [name for name in sys.modules if name.startswith("authz.directory.postgresql")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match="psycopg") as caught:
        database_of("postgresql://user@localhost/a")
    assert caught.value.hint == "pip install 'mtls-authz[postgresql]'"
    monkeypatch.undo()
    assert importlib.import_module("authz.directory.postgresql.database")


@pytest.mark.slow
def test_driver_is_imported_only_for_its_database(tmp_path: Path) -> None:
    """A service over SQLite neither needs nor loads it."""
    code = (
        "import sys; from authz.directory import Store; from authz.directory.databases import database_of; "
        f"database_of('sqlite:///{tmp_path}/a.db').create(); Store('sqlite:///{tmp_path}/a.db').close(); "
        "print([name for name in sys.modules if name == 'psycopg' or name.startswith('authz.directory.postgresql')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
