"""What a session reads, and when it need not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.directory import SQLITE_ALONE, new_store

from authz.directory import Store
from authz.directory.keys import HostKey
from authz.directory.session import Reading, Session, State
from authz.model import Organization

HOST = "acme.example.test"
ACME = Organization(0, "acme", (HOST,))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """The writer of an empty directory."""
    made = new_store(url)
    yield made
    made.close()


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """The state before every transaction that reads one."""
    begun: list[State] = []
    read = Session._read

    def note(session: Session, connection: sa.Connection, known: State) -> Reading:
        begun.append(known)
        return read(session, connection, known)

    monkeypatch.setattr(Session, "_read", note)
    return begun


def test_state_is_read_again_only_once_somebody_committed(url: str, store: Store, transactions: list[State]) -> None:
    """A reader that asks from an older state, or for rows, is answered from the database all the same."""
    session = Session(url)
    first = session.read(State()).state
    transactions.clear()
    assert session.read(first).state == first
    assert not transactions
    assert session.read(State()).state == first
    assert session.read(first, [HostKey(HOST)]).found == {HostKey(HOST): None}
    assert len(transactions) == 2
    store.add_organization(ACME)
    second = session.read(first)
    assert second.state.revision > first.revision
    transactions.clear()
    assert session.read(second.state).state == second.state
    assert not transactions
    session.close()


def test_state_of_a_session_closed_meanwhile_is_read_again(url: str, store: Store, transactions: list[State]) -> None:
    """What the connection before it saw says nothing."""
    session = Session(url)
    first = session.read(State()).state
    session.close()
    store.add_organization(ACME)
    assert session.read(first).state.revision > first.revision
    assert transactions
    session.close()


def test_commit_during_a_reading_is_seen_by_the_next(url: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is asked for before the transaction, not after it."""
    session = Session(url)
    whole = session._read

    def read_and_be_late(*arguments: object) -> object:
        found = whole(*arguments)  # type: ignore[arg-type]
        store.add_organization(ACME)
        return found

    monkeypatch.setattr(session, "_read", read_and_be_late)
    first = session.read(State()).state
    monkeypatch.undo()
    assert session.read(first).state.revision > first.revision
    session.close()


@SQLITE_ALONE
def test_file_written_again_after_it_was_read_anew_is_anew_until_a_poll_finds_it_at_rest(
    url: str, store: Store, tmp_path: Path
) -> None:
    """`cp` takes a while: what was read meanwhile may be half of the one directory and half of the other."""
    file, session = tmp_path / "a.db", Session(url)

    def write(moment: int) -> None:
        file.write_bytes(old)
        os.utime(file, (moment, moment))

    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    old = file.read_bytes()
    store.add_organization(ACME)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    first = session.read(State())
    assert not first.anew
    write(1)
    second = session.read(first.state)
    assert second.anew
    write(2)
    assert session.read(second.state, [HostKey(HOST)]).anew
    write(3)
    assert session.read(second.state).anew
    assert not session.read(second.state).anew
    write(4)
    assert not session.read(second.state).anew
    session.close()


@SQLITE_ALONE
def test_checkpoint_is_no_other_directory(url: str, store: Store, tmp_path: Path) -> None:
    """SQLite writes into the file itself now and then; the connection is made anew, once or twice, and that is all."""
    session = Session(url)
    state = session.read(State()).state
    for number in range(3):
        store.add_organization(Organization(0, f"o{number}", ()))
        with sqlite3.connect(tmp_path / "a.db") as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        for _ in range(5):
            reading = session.read(state)
            assert not reading.anew
            state = reading.state
    made = session._connection._made
    assert made <= 1 + 3 * 2
    for _ in range(5):
        session.read(state)
    assert session._connection._made == made
    session.close()
