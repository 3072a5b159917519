"""SQLite as the directory's database: one file."""

from __future__ import annotations

import sqlalchemy as sa

from authz.directory.database import Database, Progress, SchemaVersion
from authz.directory.sqlite.change_watcher import WatchedConnection
from authz.directory.sqlite.engine import database_file, open_engine, open_reader
from authz.directory.sqlite.migrate import migrate
from authz.directory.sqlite.version import explained, has_unread_leaves, version_of
from authz.errors import ConfigError, StoreError


class SqliteDatabase(Database):
    """The file at a SQLite URL. Raises `ConfigError` for another URL, or where the file's folder is not there."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._path = self.file = database_file(url)
        self.name = str(self._path)

    def open_reader(self) -> sa.Engine:
        """See `Database`."""
        return open_reader(self._url)

    def open_writer(self) -> sa.Engine:
        """See `Database`."""
        return open_engine(self._url)

    def open_reporter(self) -> sa.Engine:
        """See `Database`."""
        return open_engine(self._url)

    def watch(self) -> WatchedConnection:
        """See `Database`."""
        return WatchedConnection(self._url)

    def version(self) -> SchemaVersion | None:
        """See `Database`; a program of before uses no later schema, for its triggers may be others."""
        number = version_of(self._path)
        return None if number is None else SchemaVersion(number, number)

    def unread(self) -> bool:
        """See `Database`."""
        return has_unread_leaves(self._path)

    def migrate(self, progress: Progress = lambda _: None) -> None:
        """See `Database`."""
        migrate(self._url, progress)

    def grant(self) -> list[str]:
        """See `Database`."""
        raise ConfigError("SQLite has no roles", hint=f"who may do what is decided by the mode of {self.name}")

    def explained(self, error: BaseException) -> StoreError:
        """See `Database`."""
        return explained(self._path, error)
