"""SQLite as the directory opens it: real transactions, foreign keys, and writes that are on disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from authz.directory.sqlite.engine import database_file, open_engine, open_reader
from authz.errors import ConfigError


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with one table."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with open_engine(url).begin() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 1")
        connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER PRIMARY KEY, parent REFERENCES numbers)")
    return url


@pytest.mark.parametrize("opened", [open_engine, open_reader])
def test_each_connection_has_foreign_keys_and_waits_for_the_disk(url: str, opened: object) -> None:
    """Both are off, or less, by SQLite's default."""
    with opened(url).begin() as connection:  # type: ignore[operator]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        with pytest.raises(sa.exc.IntegrityError):
            connection.exec_driver_sql("INSERT INTO numbers VALUES (2, 1)")


def test_definition_of_a_table_is_undone_with_its_transaction(url: str) -> None:
    """Python's driver would have committed before it."""
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE more (number INTEGER)")
        connection.rollback()
        assert sa.inspect(connection).get_table_names() == ["numbers"]


def test_transaction_of_the_command_locks_when_it_begins_and_a_readers_does_not(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what a change was decided by is still true when it is written."""
    monkeypatch.setattr("authz.directory.sqlite.engine.BUSY_SECONDS", 0)
    with open_engine(url).connect() as first:
        first.exec_driver_sql("SELECT 1")
        with open_reader(url).connect() as reader:
            assert reader.exec_driver_sql("SELECT count(*) FROM numbers").scalar() == 0
        with pytest.raises(sa.exc.OperationalError, match="locked"), open_engine(url).connect() as second:
            second.exec_driver_sql("SELECT 1")


def test_file_of_a_url_is_as_sqlalchemy_reads_it(tmp_path: Path) -> None:
    """Three slashes are relative, four absolute."""
    assert database_file("sqlite:///a.db") == Path("a.db")
    assert database_file(f"sqlite:///{tmp_path}/a.db") == tmp_path / "a.db"


@pytest.fixture
def copy(url: str, tmp_path: Path) -> Path:
    """A copy of the database by VACUUM INTO, in the place of another file."""
    path = tmp_path / "copy.db"
    with closing(sqlite3.connect(database_file(url))) as connection:
        connection.execute("INSERT INTO numbers VALUES (7, NULL)")
        connection.commit()
        connection.execute(f"VACUUM INTO '{path}'")
    assert journal(path) == "delete"
    return path


def journal(path: Path) -> object:
    """How the file is journaled."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_backup_put_in_place_has_a_write_ahead_log_from_the_first_writer_on(copy: Path) -> None:
    """VACUUM INTO makes a file without one; a reader changes nothing of it."""
    numbers = "SELECT number FROM numbers"
    with open_reader(f"sqlite:///{copy}").connect() as connection:
        assert connection.exec_driver_sql(numbers).scalar() == 7
    assert journal(copy) == "delete"
    with open_engine(f"sqlite:///{copy}").connect() as connection:
        assert connection.exec_driver_sql(numbers).scalar() == 7
    assert journal(copy) == "wal"


def test_backup_that_is_being_read_is_written_all_the_same(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the log for now: a later writer turns it on."""
    monkeypatch.setattr("authz.directory.sqlite.engine.BUSY_SECONDS", 0)
    with closing(sqlite3.connect(copy, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT number FROM numbers").fetchone() == (7,)
        with open_engine(f"sqlite:///{copy}").connect() as connection:
            connection.exec_driver_sql("INSERT INTO numbers VALUES (8, NULL)")
            reader.execute("COMMIT")
            connection.commit()
    assert journal(copy) == "delete"
    with open_engine(f"sqlite:///{copy}").connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM numbers").scalar() == 2
    assert journal(copy) == "wal"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:///{folder}", "is a folder, not a database file"),
        ("sqlite:///{folder}/", "is a folder, not a database file"),
        ("sqlite:///{folder}/authz.db?mode=ro", "has no options in its URL: \\?mode"),
        ("sqlite:///{folder}/authz.db?cache=shared&uri=true", "has no options in its URL: \\?cache&uri"),
    ],
)
def test_url_that_the_driver_would_misread_is_refused(tmp_path: Path, url: str, sentence: str) -> None:
    """It would pass options over, and write in spite of mode=ro."""
    with pytest.raises(ConfigError, match=sentence):
        open_reader(url.format(folder=tmp_path))
