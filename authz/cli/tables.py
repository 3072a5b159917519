"""Tables on stdout, of texts that are safe to show."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

_GAP = "  "


def print_rows(rows: Sequence[Mapping[str, str]]) -> None:
    """Print a line for each row, under the keys of the first."""
    lines = [[key.replace("_", " ") for key in rows[0]], *([*row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if sum(widths) + len(_GAP) * (len(widths) - 1) > _room() or not all(map(str.isascii, map("".join, lines))):
        # What folds rows, and knows how wide a letter is, needs a library whose import is a tenth of a start.
        import_module("authz.cli.folded_tables").print_rows(rows)
        return
    head, *body = (_GAP.join(map(str.ljust, line, widths)) for line in lines)
    sys.stdout.write("\n".join([f"\033[1m{head}\033[0m" if _has_styles() else head, *body, ""]))


def _room() -> float:
    # A pipe has no width: what is read by a program is never folded.
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else float("inf")


def _has_styles() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
