"""`authz db`: what makes and migrates a directory, before every start of a deployment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.command_world import Run
from support.postgresql import NUMBERS, server

from authz.directory.database import VERSION
from authz.directory.postgresql.grants import ROLES
from authz.directory.sqlite.engine import open_engine
from authz.directory.sqlite.migrate import _upgrade
from authz.directory.sqlite.version import version_of

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


@pytest.mark.slow
def test_upgrade_that_was_interrupted_is_finished(run: Run) -> None:
    """By the next call, and then nothing is to be done."""
    run("db", "init")
    with closing(sqlite3.connect(FILE)) as connection, connection:
        connection.execute("UPDATE directory_state SET unread_after = 0")
    assert "authz db upgrade" in run("org", "list").err
    assert run("db", "upgrade").code == 0
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


@pytest.mark.slow
def test_directory_of_postgresql_is_made_and_its_roles(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same verbs; no line has the password, and no file is looked for."""
    name = f"made{next(NUMBERS)}"
    server().psql(f"CREATE DATABASE {name}")
    monkeypatch.setenv("AUTHZ_DATABASE", server().url(name, "owner:secret"))
    monkeypatch.setenv("AUTHZ_CRL__FOLDER", "crls")
    missing = run("org", "list")
    assert (missing.code, "authz db init" in missing.err) == (1, True)
    made = run("db", "init", "--json")
    assert made.data["version"] == VERSION  # type: ignore[index, call-overload]
    assert [row["role"] for row in run("db", "grants", "--json").data] == list(ROLES)  # type: ignore[attr-defined]
    done = [made, missing, run("db", "upgrade"), run("org", "add", "acme", "--host", "h.test"), run("doctor")]
    assert [one.code for one in done] == [0, 1, 0, 0, 1]
    assert "secret" not in "".join(one.out + one.err for one in done)


def test_roles_are_postgresqls(run: Run) -> None:
    """A file has a mode."""
    run("db", "init")
    done = run("db", "grants")
    assert (done.code, "no roles" in done.err) == (1, True)
