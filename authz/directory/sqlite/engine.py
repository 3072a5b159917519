"""Opens the directory's database, with SQLite made to behave: real transactions, foreign keys, write-ahead log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from authz.errors import ConfigError

BUSY_SECONDS = 5
"""How long a writer waits for another; every transaction here takes milliseconds."""


def open_engine(url: str) -> sa.Engine:
    """An engine for the command, whose transactions take the write lock when they begin.

    Raises `ConfigError` for a URL that is not SQLite's, or a folder that is not there.
    """
    engine = sa.create_engine(_sqlite(url), connect_args={"timeout": BUSY_SECONDS}, poolclass=sa.NullPool)
    _behave(engine, "BEGIN IMMEDIATE")
    return engine


def open_reader(url: str) -> sa.Engine:
    """An engine for the running service, which only reads. Raises `ConfigError` like `open_engine`."""
    engine = sa.create_engine(_sqlite(url), connect_args={"timeout": BUSY_SECONDS}, poolclass=sa.NullPool)
    _behave(engine, "BEGIN")
    return engine


def database_file(url: str) -> Path:
    """The file behind a SQLite URL. Raises `ConfigError`."""
    return Path(str(_sqlite(url).database))


_FOLDER = "create it first, or call as a user that may enter it"


def _sqlite(url: str) -> URL:
    hint = "write it as sqlite:///relative/path or sqlite:////absolute/path"
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError:
        raise ConfigError(f"not a database URL: {url}", hint=hint) from None
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigError(f"not a SQLite database file: {parsed.render_as_string()}", hint=hint)
    folder = Path(parsed.database).parent
    if not os.path.isdir(folder):  # noqa: PTH112 - that of `Path` raises where it may not look
        raise ConfigError(f"the folder of the database is missing, or closed to this user: {folder}", hint=_FOLDER)
    return parsed.set(drivername="sqlite")


def _behave(engine: sa.Engine, begin: str) -> None:
    """Take transactions out of the driver's hands: it would begin them late, and commit around DDL."""

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)
