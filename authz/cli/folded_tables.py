"""Tables on stdout whose rows are folded at the terminal's width, or hold other letters than ASCII."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_rows(rows: Sequence[Mapping[str, str]]) -> None:
    """Print a line for each row, under the keys of the first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        table.add_column(key.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row.values()))
    _console().print(table)


def _console() -> Console:
    # A pipe has no width: what is read by a program is never folded.
    return Console(width=None if sys.stdout.isatty() else 1_000, highlight=False, markup=False)
