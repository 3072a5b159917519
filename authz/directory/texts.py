"""Texts that no directory keeps: those with NUL, which no text of PostgreSQL has.

SQLite would keep them, though its functions end there. They are refused over both databases, in whatever statement they
stand, so that no verb can forget to look, and a directory can move from the one to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from authz.errors import StoreError
from authz.text import shown


def explained(text: str) -> str:
    """The sentence for a text with NUL; empty for any other."""
    return f"{shown(repr(text))} has a NUL character, which no directory keeps" if "\0" in text else ""


def refuse_nul(engine: sa.Engine) -> None:
    """Have each statement of the engine raise `StoreError` if such a text is among its parameters."""

    @sa.event.listens_for(engine, "before_cursor_execute")
    def check(*given: Any) -> None:
        _, _, _, parameters, _, _ = given
        _check(parameters)


_NO_TEXTS: Final = frozenset({int, bool, float, bytes, type(None)})
"""Most values of an apply: they are looked at with each row."""


def _check(value: object) -> None:
    """Of the parameters of one statement, or of many rows: also of the arrays among them."""
    if isinstance(value, str):
        if "\0" in value:
            raise StoreError(explained(value), hint="write it without; nothing was changed")
    elif isinstance(value, Mapping):
        _check_all(value.values())
    elif isinstance(value, list | tuple):
        _check_all(value)


def _check_all(values: Iterable[object]) -> None:
    for value in values:
        if type(value) not in _NO_TEXTS:
            _check(value)
