"""Brings a database to the schema of this version: under one write lock, wholly or not at all."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from authz.directory.database import Progress
from authz.directory.sqlite.engine import database_file, open_engine
from authz.directory.sqlite.leaf_fill import fill
from authz.directory.sqlite.version import explained
from authz.errors import StoreError


def migrate(url: str, progress: Progress = lambda _: None) -> None:
    """Create the database or bring it up to date; of several that start at once, one does it and the others wait.

    What was registered before is read afterwards, in steps that can be interrupted: see `leaf_fill.fill`. Raises
    `ConfigError` for the URL, `StoreError` when the file cannot be used or is of a later version.
    """
    alembic = _alembic()
    path = database_file(url)
    if not path.exists():
        _create(path)
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            # A table that is rebuilt must not take its children with it; they are checked below. Outside any
            # transaction, as within one the setting is ignored.
            connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
            with connection.begin():
                _upgrade(connection)
    except sa.exc.DatabaseError as error:
        raise explained(path, error.orig or error) from error
    except alembic.util.CommandError as error:
        problem = f"{path} is a directory of another version of authz: {error}"
        raise StoreError(problem, hint="install that version, or restore a backup (docs/upgrade.md)") from error
    finally:
        engine.dispose()
    fill(url, progress)


def _alembic() -> Any:
    """The library: 9 MiB of memory that no other verb needs, and no service."""
    return importlib.import_module("alembic.config")


def _create(path: Path) -> None:
    """An empty file that only its owner can read: certificates are public, who must show them is not."""
    try:
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot create {path}: {error.strerror}", hint="check the folder's permissions") from error


def _upgrade(connection: sa.Connection, target: str = "head") -> None:
    alembic = _alembic()
    config = alembic.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, target)
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        raise StoreError(
            f"a migration would leave {len(broken)} rows without their parents", hint="nothing was changed"
        )
