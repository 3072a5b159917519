"""Connections: in which transactions, with which settings, cut from outside, and to the server itself."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from support.postgresql import new_url

from authz.directory.postgresql.engine import POOLER, READ, REPORT, WRITE, Connector, listing
from authz.directory.postgresql.parameters import parameters_of

pytestmark = pytest.mark.slow


@pytest.fixture
def connector() -> Connector:
    """Of an empty directory."""
    return Connector(parameters_of(new_url()))


@contextmanager
def opened(connector: Connector, begin: tuple[str, ...], **session: str) -> Iterator[sa.Engine]:
    """An engine, which ends with the block."""
    engine = connector.open(begin, **session)
    yield engine
    engine.dispose()


def test_reader_sees_one_state_and_writes_nothing(connector: Connector) -> None:
    """However long its transaction lasts."""
    count = "SELECT count(*) FROM organizations"
    values = "('a', true, 'user', 'off', 'sub')"
    columns = "(name, active, binding_scope, default_enforcement, token_user_claim)"
    insert = f"INSERT INTO organizations {columns} VALUES {values}"
    with opened(connector, READ) as reader, opened(connector, WRITE) as writer:
        with reader.begin() as reading:
            assert reading.exec_driver_sql(count).scalar() == 0
            with writer.begin() as writing:
                writing.exec_driver_sql(insert)
            assert reading.exec_driver_sql(count).scalar() == 0
        with reader.begin() as reading:
            assert reading.exec_driver_sql(count).scalar() == 1
            with pytest.raises(sa.exc.InternalError, match="read-only"):
                reading.exec_driver_sql(insert)


def test_writers_wait_for_each_other_when_they_begin(connector: Connector) -> None:
    """And not for longer than is bearable; what the service reports waits for none."""
    with opened(connector, WRITE) as first, opened(connector, WRITE, lock_timeout="10ms") as second:
        with first.begin(), pytest.raises(sa.exc.OperationalError) as caught, second.begin():
            pass
        assert isinstance(caught.value.orig, psycopg.errors.LockNotAvailable)
        with second.begin(), opened(connector, REPORT) as reporter, reporter.begin() as reporting:
            assert reporting.exec_driver_sql("SHOW lock_timeout").scalar() == "5s"


def test_connection_is_kept_and_has_its_settings(connector: Connector) -> None:
    """One of its own, in which only the directory's tables have their names."""
    with opened(connector, REPORT, statement_timeout="7s") as engine:
        pids = []
        for _ in range(2):
            with engine.begin() as connection:
                pids.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar())
                assert connection.exec_driver_sql("SHOW search_path").scalar() == "public"
                assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "7s"
        assert pids[0] == pids[1]


def test_connection_that_was_cut_between_transactions_is_made_anew(connector: Connector) -> None:
    """The server restarted meanwhile."""
    with opened(connector, REPORT) as engine:
        for _ in range(2):
            with engine.begin() as connection:
                assert connection.exec_driver_sql("SELECT 1").scalar() == 1
            connector.interrupt()


def test_list_comes_in_parts(connector: Connector) -> None:
    """A million rows are never in memory at once."""
    with opened(connector, READ) as engine, listing(engine).begin() as connection:
        rows = connection.exec_driver_sql("SELECT n FROM generate_series(1, 5000000) AS n")
        assert next(iter(rows)) == (1,)
        rows.close()
        [declared] = connection.exec_driver_sql("SELECT statement FROM pg_cursors").scalars().all()
        assert "pg_cursors" in declared


def test_wait_for_a_server_ends_when_it_is_interrupted(connector: Connector) -> None:
    """From another thread, at once; the connections of others go on."""
    other = Connector(connector._parameters)
    with (
        opened(connector, REPORT) as engine,
        opened(other, REPORT) as neighbour,
        neighbour.begin() as connection,
        engine.connect() as waiting,
    ):
        waiting.exec_driver_sql("SELECT 1").close()
        timer = threading.Timer(0.2, connector.interrupt)
        timer.start()
        with pytest.raises(sa.exc.OperationalError):
            waiting.exec_driver_sql("SELECT pg_sleep(600)")
        timer.join()
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    assert connector._sockets == {}


def test_connection_that_fails_while_it_is_made_is_closed(
    connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may answer, and shut down before it has said which process answers; descriptors run out."""
    made: list[psycopg.Connection] = []
    connect = psycopg.connect

    def kept(*words: Any, **options: Any) -> psycopg.Connection:
        made.append(connect(*words, **options))
        return made[-1]

    def full(_: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(psycopg, "connect", kept)
    monkeypatch.setattr(os, "dup", full)
    with opened(connector, REPORT) as engine, pytest.raises(OSError, match="too many open files"):
        engine.connect()
    assert [connection.closed for connection in made] == [True]
    assert connector._sockets == {}


class Pooler(threading.Thread):
    """Stands before a server as PgBouncer does: it invents the number and the key by which a client may cancel.

    Messages: PostgreSQL's manual, 55.7; BackendKeyData is `K`.
    """

    def __init__(self, folder: Path, server: str) -> None:
        super().__init__(daemon=True)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(folder / ".s.PGSQL.5432"))
        self.listening.listen()
        self.server = server

    def run(self) -> None:
        """Serve one client."""
        client, _ = self.listening.accept()
        with client, closing(socket.socket(socket.AF_UNIX)) as server:
            server.connect(self.server)
            back = threading.Thread(target=self.answer, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
            back.join()

    def answer(self, server: socket.socket, client: socket.socket) -> None:
        """Pass on what the server says, but for its number."""
        while data := server.recv(65536):
            at = data.find(b"K\x00\x00\x00\x0c")
            if at >= 0:
                data = data[: at + 5] + b"\x01\x02\x03\x04" + data[at + 9 :]
            client.sendall(data)


def test_pooler_is_refused_with_the_reason(connector: Connector, tmp_path: Path) -> None:
    """Neither settings nor locks of a session hold behind one; whether it is in transaction mode cannot be asked."""
    pooler = Pooler(tmp_path, f"{connector._parameters['host']}/.s.PGSQL.5432")
    pooler.start()
    through = Connector(connector._parameters | {"host": str(tmp_path)})
    with opened(through, REPORT) as engine, pytest.raises(sa.exc.OperationalError, match=POOLER), engine.begin():
        pass
    pooler.join(10)
    pooler.listening.close()
