"""The version of the directory in a file, and the sentences that say what is wrong with it and what to do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from authz.directory.sqlite.engine import BUSY_SECONDS
from authz.errors import StoreError


def version_of(path: Path) -> str | None:
    """The version of the directory in a file; None where no file is, or an empty one. Raises `StoreError`."""
    try:
        if path.stat().st_size == 0:
            return None
        row = _first_row(path, "SELECT version_num FROM alembic_version")
    except FileNotFoundError:
        return None
    except (sqlite3.Error, OSError) as error:
        raise explained(path, error) from error
    if row is None:
        raise explained(path, "no such table: alembic_version, or an empty one")
    return str(row[0])


def has_unread_leaves(path: Path) -> bool:
    """Whether a directory of this version has registrations that were not read yet. Raises `StoreError`."""
    try:
        return _first_row(path, "SELECT unread_after FROM directory_state") not in {(None,), None}
    except (sqlite3.Error, OSError) as error:
        raise explained(path, error) from error


def _first_row(path: Path, query: str) -> tuple[object, ...] | None:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
        row: tuple[object, ...] | None = connection.execute(query).fetchone()
    return row


def explained(path: Path, error: BaseException | str) -> StoreError:
    """What an error of SQLite or the system means for the directory in a file, and what to do about it."""
    text = str(error)
    for part, problem, hint in _PROBLEMS:
        if part in text:
            return StoreError(problem.format(path=path), hint=hint)
    return StoreError(f"the directory {path} cannot be used: {text}", hint="nothing was changed")


_ACCESS: Final = "call as a user that may read it and write its folder"

_PROBLEMS: Final = (
    (
        "is locked",
        f"another process has held {{path}} for {BUSY_SECONDS} s",
        "end the transaction that is open in it (a shell, a long import), and try again; nothing was changed",
    ),
    (
        "readonly",
        "{path} can be read, but not written",
        "call as the user that owns it, and let that user write its folder; nothing was changed",
    ),
    ("unable to open", "{path} cannot be opened", _ACCESS),
    ("Permission denied", "{path} cannot be opened", _ACCESS),
    ("not a database", "{path} is no SQLite database", "set AUTHZ_DATABASE to the directory's file"),
    ("malformed", "{path} is damaged", "restore a backup: docs/upgrade.md"),
    ("no such table: alembic_version", "{path} is a database, but no directory of authz", "set AUTHZ_DATABASE"),
    ("is full", "there is no room on the disk of {path}", "make room; nothing was changed"),
)
"""A part of what SQLite says (sqlite3ErrStr, result codes 5, 8, 14, 26, 11, 1 and 13), the sentence, and the hint."""
