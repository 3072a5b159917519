"""What is not a directory of this version is refused, each with its own sentence and what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest
from alembic.script import ScriptDirectory
from support.directory import DirectoryStore, new_store

from authz.directory.database import VERSION
from authz.directory.databases import database_of
from authz.directory.sqlite import migrations
from authz.directory.sqlite.version import explained, version_of
from authz.errors import StoreError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A directory."""
    path = tmp_path / "a.db"
    new_store(f"sqlite:///{path}").close()
    return path


def refusal(path: Path) -> str:
    """The sentence and the hint of the refusal to use a file; it says where the file is."""
    with pytest.raises(StoreError) as caught:
        DirectoryStore(f"sqlite:///{path}")
    assert str(path) in str(caught.value)
    return f"{caught.value}; {caught.value.hint}"


def test_version_is_the_newest_migrations() -> None:
    """Alembic's head."""
    assert ScriptDirectory(str(Path(next(iter(migrations.__path__))))).get_heads() == [VERSION]


def test_directory_of_this_version_is_taken(file: Path) -> None:
    """The check writes nothing."""
    before = file.stat().st_mtime_ns
    database_of(f"sqlite:///{file}").check()
    assert (version_of(file), file.stat().st_mtime_ns) == (VERSION, before)


@pytest.mark.parametrize(
    ("version", "sentence", "hint"),
    [("0005", "an earlier version of authz (0005;", "authz db upgrade"), ("9999", "a later version", "install that")],
)
def test_directory_of_another_version_is_refused(file: Path, version: str, sentence: str, hint: str) -> None:
    """It says which it is, and what to do."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    assert sentence in refusal(file)
    assert hint in refusal(file)


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_directory_that_is_not_there_is_not_made(tmp_path: Path, content: bytes | None) -> None:
    """A mistyped name is noticed."""
    path = tmp_path / "b.db"
    if content is not None:
        path.write_bytes(content)
    assert "authz db init" in refusal(path)
    assert not path.exists() or path.stat().st_size == 0


def test_file_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    """Neither what is no database nor somebody else's database is taken or changed."""
    text, other, empty = (tmp_path / name for name in ("text.db", "other.db", "empty.db"))
    text.write_bytes(b"not a database at all" * 50)
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE t (id INTEGER)")
    with closing(sqlite3.connect(empty)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR)")
    assert "is no SQLite database" in refusal(text)
    assert "no directory of authz" in refusal(other)
    assert "no directory of authz" in refusal(empty)


def test_file_that_may_not_be_looked_at_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is closed to the user: a supervisor that reloads its settings must not end by it."""
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
    monkeypatch.setattr(Path, "stat", Mock(side_effect=error))
    with pytest.raises(StoreError, match="cannot be opened"):
        version_of(file)


def test_lock_of_another_writer_does_not_hold_a_reader_up(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer has to wait, and then says what it waited for."""
    monkeypatch.setattr("authz.directory.sqlite.engine.BUSY_SECONDS", 0)
    with closing(sqlite3.connect(file)) as writer, closing(DirectoryStore(f"sqlite:///{file}")) as store:
        writer.execute("BEGIN IMMEDIATE")
        assert store.organizations() == []
        with pytest.raises(StoreError, match="another process has held"):
            store.remove_organization("acme")


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        ("attempt to write a readonly database", "can be read, but not written"),
        ("unable to open database file", "cannot be opened"),
        ("database disk image is malformed", "is damaged"),
        ("database or disk is full", "no room on the disk"),
        ("something new", "cannot be used: something new"),
    ],
)
def test_problem_of_the_file_has_a_sentence_of_its_own(problem: str, sentence: str) -> None:
    """And says what to do, or that nothing was changed."""
    error = explained(Path("a.db"), sqlite3.OperationalError(problem))
    assert sentence in str(error)
    assert error.hint
