"""What the directory asks of its database: the one place where SQLite and PostgreSQL differ."""

from __future__ import annotations

import importlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import sqlalchemy as sa

from authz.errors import StoreError

VERSION: Final = "0013"
"""The newest migration's; a test compares the two. Alembic is not asked: importing it takes 0.1 s, at each command."""

READ_ERRORS: Final = (sa.exc.SQLAlchemyError, sqlite3.Error, OSError)
"""Everything by which reading a directory fails."""

UPGRADE: Final = "bring it up to date: authz db upgrade (back it up first: docs/upgrade.md)"


Progress = Callable[[int], None]


class SchemaVersion(NamedTuple):
    """The version of a directory's schema, and the oldest version of the program that can use it."""

    number: str
    oldest: str


class ChangeWatcher(ABC):
    """One connection that stays open between reads. Not thread-safe: every method is called in one and the same thread.

    One that fails is thrown away and made anew. `replaced` is whether the database has become another one, `written`
    whether its file was written past the database's own log. Both stay until the reader resets them. `begin` is the
    statement of a transaction that reads one state.
    """

    begin: ClassVar[str]

    def __init__(self) -> None:
        self.replaced = False
        self.written = False

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """The connection, outside any transaction. Raises one of `READ_ERRORS`, also if what is done with it does."""
        try:
            yield self._connect()
        except READ_ERRORS:
            self.close()
            raise

    @abstractmethod
    def _connect(self) -> sa.Connection:
        """The connection, made anew if need be."""

    @abstractmethod
    def version(self, connection: sa.Connection) -> Hashable:
        """What the connection sees: another value once another connection has committed a change of the directory."""

    @abstractmethod
    def logs_utf8(self, connection: sa.Connection) -> bool:
        """Whether the log of changes has names in the bytes of UTF-8."""

    @abstractmethod
    def close(self) -> None:
        """Give the connection back."""


class Database(ABC):
    """The database at one URL, for one user of it: a reader, a writer, the history.

    `name` says where it is, without a password; `file` is its file, if it has one.
    """

    name: str
    file: Path | None = None

    @abstractmethod
    def open_reader(self) -> sa.Engine:
        """An engine whose transactions read one state of the directory, however long they last."""

    @abstractmethod
    def open_writer(self) -> sa.Engine:
        """An engine for changes of the directory: its transactions wait for each other when they begin."""

    @abstractmethod
    def open_reporter(self) -> sa.Engine:
        """An engine for what the running service writes, none of which has a revision: the history, states of CRLs."""

    @abstractmethod
    def watch(self) -> ChangeWatcher:
        """A connection for a reader that polls."""

    @abstractmethod
    def version(self) -> SchemaVersion | None:
        """The schema's version; None where there is no directory yet. Raises `StoreError`."""

    @abstractmethod
    def migrate(self, progress: Progress = lambda _: None) -> None:
        """Make the directory or bring it up to date; of several that start at once, one does it and the others wait.

        The schema changes wholly or not at all; what is registered is then read in steps, and `progress` is called with
        the number read so far. Raises `StoreError`.
        """

    def unread(self) -> bool:
        """Whether there are registrations that a migration has still to read. Raises `StoreError`."""
        return False

    @abstractmethod
    def grant(self) -> list[str]:
        """Make the roles, give each its rights, and return their names. Raises `ConfigError` where there are none."""

    @abstractmethod
    def explained(self, error: BaseException) -> StoreError:
        """What an error of the database means for the directory, and what to do about it."""

    def interrupt(self) -> None:  # noqa: B027 - SQLite has no server
        """From any thread: whatever waits for a server fails at once."""

    def may_prune(self, connection: sa.Connection) -> bool:  # noqa: ARG002 - SQLite has one writer at a time
        """Whether this transaction may delete what is too old: of several that want to at once, one does."""
        return True

    def join(self, connection: sa.Connection, replica: int) -> bool:  # noqa: ARG002 - SQLite has one service
        """Count as a replica that works, as long as the connection lives; whether it did not do so before."""
        return False

    def replicas(self, connection: sa.Connection) -> Collection[int]:  # noqa: ARG002 - likewise
        """Those that joined and still work; others may be among them, the caller's need not."""
        return ()

    def missing(self) -> StoreError:
        """The error where there is no directory yet."""
        return StoreError(
            f"there is no directory at {self.name}", hint="make one: authz db init; or set AUTHZ_DATABASE"
        )

    def create(self) -> bool:
        """Make a directory of this version; False where one is already, of whatever version: it is left as it is.

        Raises as `migrate` does.
        """
        if self.version() is not None:
            return False
        self.migrate()
        return True

    def check(self) -> None:
        """Raise `StoreError` unless there is a directory that this version can use."""
        version, reads = self.version(), f"this one reads {VERSION}"
        if version is None:
            raise self.missing()
        if version.oldest > VERSION:
            problem = f"{self.name} is a directory of a later version of authz ({version.number}; {reads})"
            raise StoreError(problem, hint="install that version, or restore a backup (docs/upgrade.md)")
        if version.number < VERSION:
            problem = f"{self.name} is a directory of an earlier version of authz ({version.number}; {reads})"
            raise StoreError(problem, hint=UPGRADE)
        if self.unread():
            # Which certificate was taken away is decided by these columns, too.
            problem = (
                f"an upgrade of {self.name} was interrupted, or has not ended: not every registration has been read"
            )
            raise StoreError(problem, hint="finish it: authz db upgrade")


def insert_of(connection: sa.Connection) -> Callable[[sa.Table], Any]:
    """The dialect's INSERT, which can say what to do on a conflict; both dialects say it alike."""
    dialect: Any = importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    insert: Callable[[sa.Table], Any] = dialect.insert
    return insert
