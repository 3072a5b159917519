"""One connection that stays open between reads, and notices whether anything has changed since the last one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from authz.directory.sqlite.engine import database_file, open_reader

READ_ERRORS: Final = (sa.exc.SQLAlchemyError, sqlite3.Error, OSError)
"""Everything by which reading a directory fails."""


class WatchedConnection:
    """A connection to the database file at `url`. Not thread-safe: every method is called in one and the same thread.

    One that fails is thrown away and made anew. `replaced` is whether the file has become another one, `written`
    whether anything was written into it past SQLite's log: a checkpoint, or `cp`. Both stay until the reader resets
    them.
    """

    def __init__(self, url: str) -> None:
        self.replaced = False
        self.written = False
        self._url = url
        self._path = database_file(url)
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._content: tuple[int, int] | None = None
        self._made = 0

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """The connection, outside any transaction. Raises one of `READ_ERRORS`, also if what is done with it does."""
        try:
            yield self._connect()
        except READ_ERRORS:
            self.close()
            raise

    def version(self, connection: sa.Connection) -> tuple[int, int]:
        """What the connection sees: another value once another connection has committed, or it was made anew.

        SQLite's own number means something for one connection alone. To ask for it, outside any transaction, takes
        5 us, where a transaction that reads one row takes some 80.
        """
        driver: Any = connection.connection.driver_connection
        return self._made, int(driver.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Give the connection back."""
        connection, engine = self._connection, self._engine
        self._connection = self._engine = None
        with contextlib.suppress(sa.exc.SQLAlchemyError, OSError):
            if connection is not None:
                connection.close()
            if engine is not None:
                engine.dispose()

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
        self._engine = open_reader(self._url)
        self._connection = self._engine.connect()
        self._inode, self._content = inode, content
        self._made += 1
        return self._connection
