"""The manners of the command.

- Data goes to stdout: a table, or with `--json` one JSON document. Nothing else does.
- Prose goes to stderr, begins in lower case, ends without a full stop; what to do next is a `hint:` line.
- Exit 0: allowed, or done. 1: denied, or failed. 2: the words of the call were wrong.
- What came from outside (names in certificates, labels) is shown with controls, markup and
  bidirectional marks escaped: a certificate must not draw on the operator's terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from authz.cli.rows import Row
from authz.text import MAX_SHOWN, shown


def emit(rows: Sequence[Row], *, as_json: bool) -> None:
    """Print rows as a table of their keys, or as a JSON array."""
    if as_json:
        _write_json([_plain(row) for row in rows])
        return
    if rows:
        _console().print(_table(rows))


def emit_one(row: Row, *, as_json: bool) -> None:
    """Print one thing, a line for each of its keys, or as a JSON object."""
    if as_json:
        _write_json(_plain(row))
        return
    table = Table.grid(padding=(0, 2))
    for key, value in row.items():
        table.add_row(Text(key.replace("_", " "), style="bold"), Text(cell(value, 2_000)))
    _console().print(table)


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


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        table.add_column(key.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row.values()))
    return table


def _console() -> Console:
    # A pipe has no width: what is read by a program is never folded.
    return Console(width=None if sys.stdout.isatty() else 1_000, highlight=False, markup=False)
