"""Writes a man page for the command and for each verb: `python tests/support/generate_man.py FOLDER`.

click-man knows options by click's own classes, which Typer's are not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from authz import __version__
from authz.cli import app, load


def pages() -> Iterator[tuple[str, str]]:
    """The name of each page's file, and its roff (man(7)); the date is left out, so that a build can be repeated."""
    yield from _pages(typer.main.get_command(app), ("authz",), None)


def _pages(command: Any, path: tuple[str, ...], parent: Any) -> Iterator[tuple[str, str]]:
    context = command.context_class(command, info_name=path[-1], parent=parent)
    children = {
        name: load(name) if parent is None else child for name, child in getattr(command, "commands", {}).items()
    }
    yield f"{'-'.join(path)}.1", "\n".join(_lines(command, context, path, children)) + "\n"
    for name, child in children.items():
        yield from _pages(child, (*path, name), context)


def _lines(command: Any, context: Any, path: tuple[str, ...], children: dict[str, Any]) -> Iterator[str]:
    name = "-".join(path)
    summary = command.get_short_help_str(200).removesuffix(".")
    yield f'.TH "{name.upper()}" "1" "" "authz {__version__}" "authz"'
    yield from (".SH NAME", f"{_text(name)} \\- {_text(summary)}")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (".SH SYNOPSIS", f".B {_text(' '.join(path))}", _text(usage), ".SH DESCRIPTION")
    for paragraph in (command.help or "").split("\n\n"):
        yield from (".PP", _text(" ".join(paragraph.split())))
    records = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    yield from _listed("OPTIONS", records)
    yield from _listed("COMMANDS", [(child, each.get_short_help_str(200)) for child, each in children.items()])
    if command.epilog:
        yield from (".SH NOTES", _text(" ".join(command.epilog.split())))
    others = [f"{name}-{child}(1)" for child in children] or ["-".join(path[:-1]) + "(1)"]
    yield from (".SH SEE ALSO", _text(", ".join(others)))


def _listed(title: str, records: list[tuple[str, str]]) -> Iterator[str]:
    if records:
        yield f".SH {title}"
    for name, help_ in records:
        yield from (".TP", f".B {_text(name)}", _text(help_ or "-"))


def _text(text: str) -> str:
    """`text` as roff prints it: no backslash, hyphen or beginning of a line means anything else."""
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for page, roff in pages():
        (folder / page).write_text(roff, encoding="utf-8")
