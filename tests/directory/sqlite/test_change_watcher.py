"""One connection that is kept, and what it notices."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.directory import new_store

from authz.directory.database import READ_ERRORS
from authz.directory.sqlite.change_watcher import WatchedConnection
from authz.model import Organization

ACME = Organization(0, "acme", ("acme.example.test",))


class Scene:
    """A directory, a writer and a reader of it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.url = f"sqlite:///{file}"
        self.store = new_store(self.url)
        self.pinned = WatchedConnection(self.url)

    def version(self) -> tuple[int, int]:
        """What it sees now."""
        with self.pinned.connected() as connection:
            return self.pinned.version(connection)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """An empty one."""
    made = Scene(tmp_path / "a.db")
    yield made
    made.pinned.close()
    made.store.close()


def test_version_is_another_once_somebody_committed(scene: Scene) -> None:
    """And the same as long as no process has."""
    before = scene.version()
    assert scene.version() == before
    scene.store.add_organization(ACME)
    assert scene.version() != before
    assert scene.version() == scene.version()


def test_version_of_another_connection_is_another(scene: Scene) -> None:
    """SQLite's own numbers of two connections mean nothing to each other."""
    before = scene.version()
    scene.pinned.close()
    assert scene.version() != before


def test_connection_is_kept_until_something_fails(scene: Scene) -> None:
    """Whatever it is that a database may raise."""
    seen: list[sa.Connection] = []
    for error in (None, sqlite3.OperationalError("disk I/O error"), OSError(), None):
        try:
            with scene.pinned.connected() as connection:
                seen.append(connection)
                if error is not None:
                    raise error
        except READ_ERRORS:
            continue
    first, second, third, fourth = map(id, seen)
    assert first == second != third != fourth


def test_replaced_file_is_noticed_and_read(scene: Scene, tmp_path: Path) -> None:
    """Also when nothing commits to it."""
    before = scene.version()
    assert not scene.pinned.replaced
    other = Scene(tmp_path / "b.db")
    other.store.add_organization(ACME)
    other.store.close()
    other.file.replace(scene.file)
    assert scene.version() != before
    assert scene.pinned.replaced
    with scene.pinned.connected() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM organizations")).scalar() == 1


def test_missing_file_is_an_error(scene: Scene) -> None:
    """As an operator's mistake may make it."""
    scene.version()
    scene.file.rename(scene.file.with_name("c.db"))
    with pytest.raises(FileNotFoundError), scene.pinned.connected():
        pass
