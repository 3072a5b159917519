"""`authz db`: what makes and migrates a directory, before every start of a deployment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.command_world import Run

from authz.directory.sqlite.engine import open_engine
from authz.directory.sqlite.migrate import _upgrade
from authz.directory.sqlite.version import VERSION, version_of

FILE = Path("new.db")


@pytest.fixture(autouse=True)
def other_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory that the verbs name is not there yet."""
    monkeypatch.setenv("AUTHZ_DATABASE", f"sqlite:///{FILE}")


def test_init_makes_a_directory_and_leaves_one_as_it_is(run: Run) -> None:
    """Only its owner can read it."""
    assert run("db", "init").code == 0
    assert (version_of(FILE), FILE.stat().st_mode & 0o777) == (VERSION, 0o600)
    run("org", "add", "acme", "--host", "api.example.com")
    assert run("db", "init").code == 0
    assert "acme" in run("org", "list").out


def test_upgrade_makes_no_directory_unless_it_is_asked_to(run: Run) -> None:
    """A mistyped name is noticed."""
    done = run("db", "upgrade")
    assert (done.code, FILE.exists()) == (1, False)
    assert "authz db init" in done.err
    assert run("db", "upgrade", "--create").code == 0
    assert version_of(FILE) == VERSION


def test_upgrade_brings_an_earlier_version_up_to_date_once(run: Run) -> None:
    """Before that, no other verb uses it, and init does not migrate it; after that, nothing is to be done."""
    engine = open_engine(f"sqlite:///{FILE}")
    with engine.begin() as connection:
        _upgrade(connection, "0005")
    engine.dispose()
    for verb in (("org", "list"), ("db", "init")):
        done = run(*verb)
        assert (done.code, version_of(FILE)) == (1, "0005")
        assert "authz db upgrade" in done.err
    befores = [run("db", "upgrade", "--json").data["before"] for _ in range(2)]  # type: ignore[index, call-overload]
    assert befores == ["0005", VERSION]
    assert run("org", "list").code == 0


@pytest.mark.parametrize("version", ["9999", "1a2b3c", None], ids=["later", "another-program", "empty"])
def test_file_of_another_version_is_not_changed(run: Run, version: str | None) -> None:
    """Not even how it is journaled: another program that uses Alembic may own it."""
    with closing(sqlite3.connect(FILE)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR)")
        if version is not None:
            connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))
    before = FILE.read_bytes()
    for verb in (("init",), ("upgrade",), ("upgrade", "--create")):
        assert run("db", *verb).code == 1
    assert FILE.read_bytes() == before


def test_other_verbs_make_no_directory(run: Run) -> None:
    """Each says how one is made."""
    for words in (("org", "list"), ("org", "add", "acme"), ("decisions", "list"), ("serve", "--check")):
        done = run(*words)
        assert (done.code, "authz db init" in done.err) == (1, True), words
    assert not FILE.exists()
