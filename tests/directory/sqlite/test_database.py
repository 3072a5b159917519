"""SQLite as the directory's database."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.directory.databases import database_of
from authz.errors import ConfigError


def test_directory_is_its_file(tmp_path: Path) -> None:
    """By its path, whatever the URL; it has one service, and waits for no server."""
    database = database_of(f"sqlite:///{tmp_path / 'a.db'}")
    assert (database.file, database.name) == (tmp_path / "a.db", str(tmp_path / "a.db"))
    database.interrupt()
    database.create()
    with database.open_reporter().begin() as connection:
        assert not database.join(connection, 7)
        assert database.replicas(connection) == ()
        assert database.may_prune(connection)


def test_later_schema_can_be_used_by_no_earlier_version(tmp_path: Path) -> None:
    """Its triggers may be others."""
    database = database_of(f"sqlite:///{tmp_path / 'a.db'}")
    database.create()
    version = database.version()
    assert version is not None
    assert version.oldest == version.number


def test_roles_are_an_error(tmp_path: Path) -> None:
    """The file's mode decides."""
    with pytest.raises(ConfigError, match="no roles") as caught:
        database_of(f"sqlite:///{tmp_path / 'a.db'}").grant()
    assert str(tmp_path) in caught.value.hint
