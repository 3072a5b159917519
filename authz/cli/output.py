"""The manners of the command.

- Data goes to stdout: a table, or with `--json` one JSON document. Nothing else does.
- Prose goes to stderr, begins in lower case, ends without a full stop; what to do next is a `hint:` line.
- Exit 0: allowed, or done. 1: denied, or failed. 2: the words of the call were wrong.
- What came from outside (names in certificates, labels) is shown with controls, markup and
  bidirectional marks escaped: a certificate must not draw on the operator's terminal.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from itertools import islice
from json.encoder import encode_basestring_ascii
from textwrap import indent
from typing import Final

from authz.cli.tables import print_rows
from authz.text import MAX_SHOWN, shown

Row = Mapping[str, object]
"""A thing as it is printed: the columns of a table, the keys of JSON."""

TABLE_ROWS: Final = 100
"""Rows that a list prints as a table where no limit is given, and those of one table."""


def emit(rows: Iterable[Row], *, as_json: bool) -> None:
    """Print rows as they come: as a JSON array, or as tables of their keys, of at most `TABLE_ROWS` rows each."""
    if as_json:
        _stream_json(rows)
        return
    rest = iter(rows)
    while batch := list(islice(rest, TABLE_ROWS)):
        print_rows([{key: cell(value) for key, value in row.items()} for row in batch])


def emit_page(rows: Iterable[Row], key: str, limit: int | None, *, as_json: bool) -> bool:
    """Print the first rows, and how to go on behind the last one, by its `key`. Returns whether there were any.

    At most `limit`; if that is None a table of `TABLE_ROWS`, or everything as JSON.
    """
    last: Row = {}

    def page() -> Iterator[Row]:
        nonlocal last
        for row in islice(rest, limit):
            last = row
            yield row

    rest, limit = iter(rows), limit or (None if as_json else TABLE_ROWS)
    emit(page(), as_json=as_json)
    if next(rest, None) is not None:
        hint(f"there are more: the same command with --after={shlex.quote(str(last[key]))}")
    return bool(last)


def emit_one(row: Row, *, as_json: bool) -> None:
    """Print one thing, a line for each of its keys, or as a JSON object."""
    if as_json:
        _write_json(_plain(row))
        return
    width = max(map(len, row), default=0)
    for key, value in row.items():
        sys.stdout.write(f"{key.replace('_', ' '):{width}}  {cell(value, 2_000)}\n")


def say(text: str) -> None:
    """Print a sentence for the operator, on stderr."""
    sys.stderr.write(f"{shown(text, 2_000)}\n")


def hint(text: str) -> None:
    """Print what to do next."""
    sys.stderr.write(f"hint: {shown(text, 2_000)}\n")


def fail(message: str, advice: str = "") -> None:
    """Print what went wrong, and what to do about it."""
    say(f"authz: {message}")
    if advice:
        hint(advice)


def cell(value: object, limit: int = MAX_SHOWN) -> str:
    """A value as a table shows it, at most `limit` characters of a text."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%SZ}"
        case bytes():
            return value.hex()
        case list() | tuple():
            return ", ".join(map(cell, value)) or "-"
        case _:
            return shown(str(value), limit)


def _plain(row: Row) -> dict[str, object]:
    return {key: _json_value(value) for key, value in row.items()}


def _json_value(value: object) -> object:
    match value:
        case list() | tuple():
            return [_json_value(item) for item in value]
        case Mapping():
            return _plain(value)
        case datetime():
            return value.isoformat()
        case bytes():
            return value.hex()
        case None | bool() | int() | float():
            return value
    return str(value)


def _write_json(value: object) -> None:
    # ASCII only: whatever a name holds, the terminal sees it escaped and a program reads it whole.
    json.dump(value, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _stream_json(rows: Iterable[Row]) -> None:
    """The array that `_write_json` would write of all rows, while no more than one is in memory."""
    begin, end = "[\n", "[]\n"
    for row in rows:
        sys.stdout.write(begin + _object(tuple(row)) % tuple([_member(value) for value in row.values()]))
        begin, end = ",\n", "\n]\n"
    sys.stdout.write(end)


@cache
def _object(keys: tuple[str, ...]) -> str:
    """A row with these keys, without its values."""
    members = ",\n".join(f"    {json.dumps(key)}: ".replace("%", "%%") + "%s" for key in keys)
    return f"  {{\n{members}\n  }}" if members else "  {}"


def _member(value: object) -> str:
    """A value as it stands within a row: the library writes in lines three times as slowly, in Python."""
    match value:
        case str():
            return encode_basestring_ascii(value)
        case bool() | None:
            return json.dumps(value)
        case int():
            return str(int(value))
        case datetime():
            return f'"{value.isoformat()}"'
    return indent(json.dumps(_json_value(value), indent=2), "    ").lstrip()
