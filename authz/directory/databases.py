"""The database that a URL names."""

from __future__ import annotations

import importlib
from typing import Final

from authz.directory.database import Database
from authz.directory.sqlite.database import SqliteDatabase
from authz.errors import ConfigError

POSTGRESQL: Final = ("postgresql", "postgres")
"""The schemes that libpq reads (PostgreSQL's manual, 34.1.1.2)."""


def database_of(url: str) -> Database:
    """The database at `url`, which nothing connects to yet. Raises `ConfigError` for a URL that cannot be used."""
    if url.partition("://")[0] not in POSTGRESQL:
        return SqliteDatabase(url)
    try:
        # What only this database needs is imported only for it.
        module = importlib.import_module("authz.directory.postgresql.database")
    except ImportError as error:
        raise ConfigError(
            f"PostgreSQL needs psycopg, which cannot be imported: {error}", hint="pip install 'mtls-authz[postgresql]'"
        ) from None
    database: Database = module.PostgresqlDatabase(url)
    return database
