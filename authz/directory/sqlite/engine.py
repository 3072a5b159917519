"""Opens the directory's database, with SQLite made to behave: real transactions, foreign keys, write-ahead log."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from authz.errors import ConfigError

BUSY_SECONDS = 5
"""How long a writer waits for another; every transaction here takes milliseconds."""

BEGIN: Final = "BEGIN"
"""Its first statement takes one state for all rows that are read in the transaction."""


def open_engine(url: str) -> sa.Engine:
    """An engine for the command, whose transactions take the write lock when they begin.

    Raises `ConfigError` for a URL that is not SQLite's, or a folder that is not there.
    """
    engine = sa.create_engine(_sqlite(url), connect_args={"timeout": BUSY_SECONDS}, poolclass=sa.NullPool)
    _behave(engine, "BEGIN IMMEDIATE", writes=True)
    return engine


def open_reader(url: str) -> sa.Engine:
    """An engine for the running service, which only reads. Raises `ConfigError` like `open_engine`."""
    engine = sa.create_engine(_sqlite(url), connect_args={"timeout": BUSY_SECONDS}, poolclass=sa.NullPool)
    _behave(engine, BEGIN, writes=False)
    return engine


def database_file(url: str) -> Path:
    """The file behind a SQLite URL. Raises `ConfigError`."""
    return Path(str(_sqlite(url).database))


_FOLDER = "create it first, or call as a user that may enter it"


def _sqlite(url: str) -> URL:
    hint = "write it as sqlite:///relative/path, sqlite:////absolute/path, or postgresql://user@host/database"
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError:
        # Perhaps it has a password, in whatever place.
        raise ConfigError("the setting database is not a URL", hint=hint) from None
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigError(f"not a SQLite database file: {parsed.render_as_string()}", hint=hint)
    if parsed.query:
        # The driver would pass them over, and write in spite of mode=ro.
        raise ConfigError(f"a SQLite database has no options in its URL: ?{'&'.join(parsed.query)}", hint=hint)
    if os.path.isdir(parsed.database):  # noqa: PTH112 - that of `Path` raises where it may not look
        raise ConfigError(f"{parsed.database} is a folder, not a database file", hint="name a file in it: authz.db")
    folder = Path(parsed.database).parent
    if not os.path.isdir(folder):  # noqa: PTH112 - likewise
        raise ConfigError(f"the folder of the database is missing, or closed to this user: {folder}", hint=_FOLDER)
    return parsed.set(drivername="sqlite")


def _behave(engine: sa.Engine, begin: str, *, writes: bool) -> None:
    """Take transactions out of the driver's hands: it would begin them late, and commit around DDL.

    A copy made by VACUUM INTO has no write-ahead log, so that readers and writers would wait for each other: the first
    writer turns it on. Where it cannot, for a lock or a right, its own statements say so.
    """

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        if writes:
            with contextlib.suppress(sqlite3.Error):
                cursor.execute("PRAGMA journal_mode = WAL")
            # KiB, taken as they are needed: an index by hashes is written all over.
            cursor.execute("PRAGMA cache_size = -65536")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)
