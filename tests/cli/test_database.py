"""`authz db`: the only verbs that make or migrate a directory."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.command_world import Done, authz

from authz.directory.sqlite.version import VERSION


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTHZ_DATABASE", "sqlite:///a.db")


def versions(done: Done) -> tuple[object, object]:
    """The version before and after."""
    assert isinstance(done.data, dict), done.err
    return done.data["before"], done.data["version"]


def test_init_makes_a_directory_and_leaves_one_as_it_is() -> None:
    """The second call is no error."""
    assert versions(authz("db", "init", "--json")) == (None, VERSION)
    content = Path("a.db").read_bytes()
    assert versions(authz("db", "init", "--json")) == (VERSION, VERSION)
    assert Path("a.db").read_bytes() == content


def test_upgrade_makes_a_directory_only_if_it_is_asked_to() -> None:
    """A mistyped name stays an error."""
    refused = authz("db", "upgrade")
    assert (refused.code, "authz db init" in refused.err, Path("a.db").exists()) == (1, True, False)
    assert versions(authz("db", "upgrade", "--create", "--json")) == (None, VERSION)
    assert versions(authz("db", "upgrade", "--create", "--json")) == (VERSION, VERSION)


@pytest.mark.parametrize("verb", ["init", "upgrade"])
def test_directory_of_a_later_version_is_left_as_it_is(verb: str) -> None:
    """By both verbs."""
    authz("db", "init")
    with closing(sqlite3.connect("a.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    done = authz("db", verb)
    assert (done.code, "version of authz" in done.err) == (1, True)


def test_other_verbs_make_no_directory() -> None:
    """Each says how one is made."""
    for words in (("org", "list"), ("org", "add", "acme"), ("decisions", "list"), ("serve", "--check")):
        done = authz(*words)
        assert (done.code, "authz db init" in done.err) == (1, True), words
    assert not Path("a.db").exists()
