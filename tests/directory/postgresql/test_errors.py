"""Each error of PostgreSQL that an operator may meet has a sentence and says what to do."""

from __future__ import annotations

import psycopg
import pytest

from authz.directory.postgresql.engine import POOLER
from authz.directory.postgresql.errors import explained

PLACE = "postgresql://db.example/a"


@pytest.mark.parametrize(
    ("error", "sentence", "hint"),
    [
        (psycopg.errors.ReadOnlySqlTransaction("x"), "standby", "primary"),
        (psycopg.errors.InsufficientPrivilege("permission denied"), "permission denied", "authz_write"),
        (psycopg.errors.UndefinedTable("x"), "no directory", "AUTHZ_DATABASE"),
        (psycopg.errors.DiskFull("x"), "no room", "make room"),
        (psycopg.errors.LockNotAvailable("x"), "for 5 s", "end the transaction"),
        (psycopg.OperationalError("FATAL:  sorry, too many clients already"), "no connection left", "max_connections"),
        (psycopg.OperationalError(POOLER), "PgBouncer", "the server itself"),
        (psycopg.OperationalError("FATAL:  unsupported startup parameter: options"), "PgBouncer", "the server itself"),
        (psycopg.OperationalError("server is in hot standby mode"), "standby", "primary"),
        (psycopg.OperationalError("connection to server failed:\n  refused"), "cannot be reached", "running"),
        (psycopg.Error("something else"), "something else", "nothing was changed"),
    ],
)
def test_error_has_a_sentence_and_a_hint(error: psycopg.Error, sentence: str, hint: str) -> None:
    """In one line, with the place."""
    made = explained(PLACE, error)
    assert sentence in str(made)
    assert PLACE in str(made)
    assert "\n" not in str(made)
    assert hint in made.hint
