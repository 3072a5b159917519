"""A directory for a test: made if it does not exist, and opened."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Concatenate, ParamSpec, TypeVar

import psycopg
import pytest
import sqlalchemy as sa

from authz.admin.audited_store import AuditedStore
from authz.directory import crls, organizations, registrations, users
from authz.directory.authorities import ANCHORS, INTERMEDIATES
from authz.directory.databases import database_of
from authz.pki import Crl
from support.postgresql import new_url

P = ParamSpec("P")
T = TypeVar("T")

DIALECTS = ("sqlite", "postgresql")
SQLITE_ALONE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
POSTGRESQL_ALONE = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


def _verb(function: Callable[Concatenate[sa.Connection, P], T]) -> Callable[Concatenate[AuditedStore, P], T]:
    """The method that calls `function` in a transaction of its own, past the audit log."""

    @wraps(function)
    def verb(store: AuditedStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with store.transaction() as connection:
            result = function(connection, *args, **kwargs)
            return list(result) if isinstance(result, Iterator) else result

    return verb


class DirectoryStore(AuditedStore):
    """A directory with a method for each function that changes or lists it."""

    add_organization = _verb(organizations.add_organization)
    set_organization = _verb(organizations.set_organization)
    remove_organization = _verb(organizations.remove_organization)
    add_anchors, remove_anchor = _verb(ANCHORS.add), _verb(ANCHORS.remove)
    add_intermediates, remove_intermediate = _verb(INTERMEDIATES.add), _verb(INTERMEDIATES.remove)
    add_user, set_user, remove_user = _verb(users.add_user), _verb(users.set_user), _verb(users.remove_user)
    user = _verb(users.get_user)
    register, retire = _verb(registrations.register), _verb(registrations.retire)
    registrations = _verb(registrations.list_registrations)
    remove_crl, remove_crls = _verb(crls.remove_crl), _verb(crls.remove_crls)
    renumber_source = _verb(crls.renumber_source)
    fetched_crls, ask_crl_sources = _verb(crls.list_fetched_crls), _verb(crls.ask_crl_sources)

    def add_crl(self, crl: Crl, now: datetime, *, anyway: bool = False) -> crls.StoredCrl:
        """See `authz.directory.crls.add_crl`."""
        with self.transaction() as connection:
            return crls.add_crl(connection, crl, crls.known_cas(connection), now, anyway=anyway)

    # From here on these names are the verbs', and no more those of the modules.
    users = _verb(users.list_users)
    crls = _verb(crls.list_crls)


def new_store(url: str, fill: Callable[[DirectoryStore], None] = lambda _: None) -> DirectoryStore:
    """The directory at `url`, for writers, and what `fill` writes to a new one; the caller closes it.

    A new file is a copy of one that was migrated and filled: that takes a hundred times as long.
    """
    database = database_of(url)
    if database.file is not None and not database.file.exists():
        make_directory(database.file, prepared(fill))
        return DirectoryStore(url)
    database.create()
    store = DirectoryStore(url)
    fill(store)
    return store


def make_directory(path: Path, content: bytes | None = None) -> None:
    """Write the file of a directory, by default a new one, which has a lineage of its own."""
    path.touch(mode=0o600)
    path.write_bytes(migrated() if content is None else content)
    with contextlib.closing(sqlite3.connect(path)) as copy, copy:
        copy.execute("UPDATE directory_state SET lineage = randomblob(16)")
        copy.execute("UPDATE directory_changes SET lineage = (SELECT lineage FROM directory_state)")


@cache
def migrated() -> bytes:
    """The file of a new directory."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "authz.db"
        database_of(f"sqlite:///{path}").migrate()
        return path.read_bytes()


@cache
def prepared(fill: Callable[[DirectoryStore], None]) -> bytes:
    """The file of a directory with what `fill` writes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "authz.db"
        make_directory(path)
        with contextlib.closing(DirectoryStore(f"sqlite:///{path}")) as store:
            fill(store)
        return path.read_bytes()


def url_of(dialect: str, folder: Path) -> str:
    """That of a new directory: a file in the folder, which does not exist yet, or a database of the tests' server."""
    return new_url() if dialect == "postgresql" else f"sqlite:///{folder / 'a.db'}"


def execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Do each statement in a transaction of its own, past the product; the rows of the last one.

    Bytes are written as SQLite has them, `x'00'`.
    """
    rows: list[tuple[object, ...]] = []
    with contextlib.closing(connect(url)) as connection:
        for statement in statements:
            words = statement if url.startswith("sqlite:") else re.sub(r"x'(\w*)'", r"'\\x\1'::bytea", statement)
            cursor = connection.execute(words)
            rows = cursor.fetchall() if cursor.description else []
    return rows


def content(url: str) -> bytes:
    """Everything that a directory holds: the bytes of its file, or all rows as Python writes them."""
    if url.startswith("sqlite:"):
        return Path(url.removeprefix("sqlite:///")).read_bytes()
    tables = execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return "".join(repr(execute(url, f"SELECT * FROM {table}")) for (table,) in tables).encode()


def connect(url: str) -> sqlite3.Connection | psycopg.Connection:
    """The driver's own connection, which commits each statement."""
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection
    return psycopg.connect(url, autocommit=True)
