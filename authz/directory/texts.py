"""Texts that no directory keeps: with NUL, which no text of PostgreSQL has, or with half a character of UTF-16.

SQLite would keep the one, though its functions end at it. Both are refused over both databases, in whatever statement
they stand, so that no verb can forget to look, and a directory can move from the one to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from authz.errors import StoreError
from authz.text import shown

HINT: Final = "write it without; nothing was changed"


def unkept(text: str) -> str:
    """What of a text no directory keeps, in a word or two; empty for nearly every text."""
    if "\0" in text:
        return "NUL"
    if text.isascii():
        return ""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half a character"
    return ""


def refuse_unkept(engine: sa.Engine) -> None:
    """Have each statement of the engine raise `StoreError` if such a text is among its parameters."""

    @sa.event.listens_for(engine, "before_cursor_execute")
    def check(*given: Any) -> None:
        _, _, _, parameters, _, _ = given
        _check(parameters)


def _check(value: object) -> None:
    """Of the parameters of one statement, or of many rows: also of the arrays among them."""
    if isinstance(value, str):
        what = unkept(value)
        if what:
            raise StoreError(f"{shown(repr(value))} has {what}, which no directory keeps", hint=HINT)
    elif isinstance(value, Mapping):
        _check_all(value.values())
    elif isinstance(value, list | tuple):
        _check_all(value)


def _check_all(values: Iterable[object]) -> None:
    for value in values:
        if not isinstance(value, int | bytes | None):
            _check(value)
