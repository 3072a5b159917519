"""Brings a database to the schema of this version, as the owner of its tables: wholly or not at all."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from authz.directory.postgresql.grants import grant
from authz.errors import StoreError

LOCK: Final = 0x61757468
"""The key of the advisory lock that one migration at a time holds."""

TRIES: Final = 20
TRY_SECONDS: Final = 0.5
"""Between tries. A migration that waits for a lock has every reader wait behind it: so it waits for half a second."""

# Alembic writes `version_num`; a migration that programs of before cannot use sets `oldest` to its own number.
VERSION_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS alembic_version (
        version_num VARCHAR(32) CONSTRAINT alembic_version_pkc PRIMARY KEY,
        oldest VARCHAR(32) NOT NULL DEFAULT '0012'
    )
"""


def migrate(engine: sa.Engine) -> None:
    """Create the schema or bring it up to date; of several that start at once, one does it and the others wait.

    Raises `StoreError` for a database of another encoding, or of another version of authz, and
    `sqlalchemy.exc.DBAPIError`.
    """
    for last in (*[False] * (TRIES - 1), True):
        try:
            with engine.begin() as connection:
                _upgrade(connection)
        except sa.exc.OperationalError as error:
            if last or not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
            time.sleep(TRY_SECONDS)
        else:
            return


def _upgrade(connection: sa.Connection) -> None:
    connection.exec_driver_sql("SET LOCAL lock_timeout = '500ms'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})").close()
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        problem = f"the database has the encoding {encoding}, which cannot hold every name"
        raise StoreError(problem, hint="create it so: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0")
    connection.exec_driver_sql(VERSION_TABLE)
    alembic: Any = importlib.import_module("alembic.config")
    config = alembic.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        alembic.command.upgrade(config, "head")
    except alembic.util.CommandError as error:
        problem = f"the database is a directory of another version of authz: {error}"
        raise StoreError(problem, hint="install that version, or restore a backup (docs/upgrade.md)") from error
    grant(connection)
