"""One connection that stays open between reads, and notices whether anything has changed since the last one."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import sqlalchemy as sa

from authz.directory.database import ChangeWatcher
from authz.directory.sqlite.engine import BEGIN, database_file, open_reader


class WatchedConnection(ChangeWatcher):
    """A connection to the database file at `url`.

    `replaced` is whether the file has become another one, `written` whether anything was written into it past SQLite's
    log: a checkpoint, or `cp`.
    """

    begin = BEGIN

    def __init__(self, url: str) -> None:
        super().__init__()
        self._path = str(database_file(url))
        self._engine = open_reader(url)
        self._connection: sa.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._content: tuple[int, int] | None = None
        self._made = 0

    def version(self, connection: sa.Connection) -> tuple[int, int]:
        """What the connection sees: another value once another connection has committed, or it was made anew.

        SQLite's own number means something for one connection alone. To ask for it, outside any transaction, takes
        5 us, where a transaction that reads one row takes some 80.
        """
        driver: Any = connection.connection.driver_connection
        return self._made, int(driver.execute("PRAGMA data_version").fetchone()[0])

    def logs_utf8(self, connection: sa.Connection) -> bool:
        """See `ChangeWatcher`: keys are logged as bytes of the database's encoding."""
        driver: Any = connection.connection.driver_connection
        return bool(driver.execute("PRAGMA encoding").fetchone()[0] == "UTF-8")

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError, OSError):
                connection.close()

    def _connect(self) -> sa.Connection:
        status = os.stat(self._path)  # noqa: PTH116 - one system call a read
        inode = (status.st_dev, status.st_ino)
        content = (status.st_mtime_ns, status.st_size)
        if self._connection is not None and (inode, content) == (self._inode, self._content):
            return self._connection
        # Pages that the connection keeps may be those of before: SQLite does not look whether `cp` wrote over them.
        self.close()
        self.replaced = self.replaced or self._inode not in {None, inode}
        self.written = self.written or self._content not in {None, content}
        self._connection = self._engine.connect()
        self._inode, self._content = inode, content
        self._made += 1
        return self._connection
