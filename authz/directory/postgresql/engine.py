"""Opens connections to PostgreSQL: each to the primary itself, in transactions that the caller's work needs."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from authz.directory.postgresql.parameters import Parameters

READ: Final = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)
"""One snapshot for the state and all rows that are read with it."""

WRITE: Final = ("BEGIN", "SELECT take_turn()")
"""The turn first, before any row is locked: so no two writers wait for each other's rows."""

REPORT: Final = ("BEGIN",)

SESSION: Final = {
    "search_path": "public",
    "lock_timeout": "5s",
    "timezone": "UTC",
    # Nothing here runs long enough to be worth compiling; that of many rows would be, as the planner guesses.
    "jit": "off",
}
"""Settings of every connection; SQLite waits for a lock as long."""

POOLER: Final = "a connection pooler, such as PgBouncer, stands before the server"

ROWS_AT_ONCE: Final = 1_000
"""Rows of a list that are fetched together: a million are never in memory at once."""


class Connector:
    """Makes engines that connect by `parameters`, and can cut all their connections at once."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = dict(parameters)
        self._sockets: dict[int, socket.socket] = {}

    def open(self, begin: Sequence[str], **session: str) -> sa.Engine:
        """An engine whose transactions begin with these statements; one connection stays open between them.

        `session` are settings besides `SESSION`.
        """
        options = " ".join(f"-c {name}={value}" for name, value in (SESSION | session).items())
        given = self._parameters.get("options", "")
        parameters = self._parameters | {"options": f"{given} {options}".strip()}
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: self._connect(parameters),
            pool_size=1,
            max_overflow=-1,
            pool_pre_ping=True,
            use_native_hstore=False,
        )

        @sa.event.listens_for(engine, "begin")
        def start(connection: sa.Connection) -> None:
            for statement in begin:
                # Those that stream would declare a cursor for it.
                connection.exec_driver_sql(statement, execution_options={"stream_results": False}).close()

        @sa.event.listens_for(engine, "close")
        def close(connection: object, _record: object) -> None:
            self._forget(connection)

        return engine

    def interrupt(self) -> None:
        """From any thread: whatever waits for an answer on one of these connections fails at once."""
        for handle in list(self._sockets.values()):
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    def _connect(self, parameters: Parameters) -> psycopg.Connection[Any]:
        """A connection whose transactions SQLAlchemy's events begin.

        Raises `psycopg.OperationalError`, also where another process answers than the one that was connected to: with
        a pooler neither settings nor locks of a session hold.
        """
        connection = psycopg.connect(make_conninfo(**parameters), autocommit=True)
        with ExitStack() as on_error:
            on_error.callback(connection.close)
            answering = connection.execute("SELECT pg_backend_pid()").fetchone()
            if answering is None or answering[0] != connection.info.backend_pid:
                raise psycopg.OperationalError(POOLER)
            # A second descriptor: that of a connection which another thread closes may be another file's by then.
            self._sockets[id(connection)] = socket.socket(fileno=os.dup(connection.fileno()))
            on_error.pop_all()
        return connection

    def _forget(self, connection: object) -> None:
        handle = self._sockets.pop(id(connection), None)
        if handle is not None:
            handle.close()


def listing(engine: sa.Engine) -> sa.Engine:
    """The engine, of whose results only some rows are in memory at once."""
    return engine.execution_options(stream_results=True, max_row_buffer=ROWS_AT_ONCE)
