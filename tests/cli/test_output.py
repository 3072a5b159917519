"""How the command prints: data on stdout, prose on stderr, nothing that draws on the terminal."""

from __future__ import annotations

import contextlib
import os
import shlex
import tracemalloc
from pathlib import Path

import pytest
from support.command_world import CA, LIFE, Run, write

from authz.cli.output import emit, emit_page

LISTS = [
    ("org", "list"),
    ("anchor", "list"),
    ("intermediate", "list"),
    ("user", "list", "acme"),
    ("cert", "list"),
    ("crl", "list"),
]


@pytest.mark.parametrize("verb", LISTS, ids=lambda verb: verb[0])
def test_list_prints_a_table_or_json(acme: Run, verb: tuple[str, ...]) -> None:
    """Data on stdout, and nothing else."""
    assert acme(*verb).out.strip()
    rows = acme(*verb, "--json").data
    assert isinstance(rows, list)
    assert rows


@pytest.mark.parametrize("verb", [("org", "show", "acme"), ("user", "show", "acme", "alice"), ("cert", "show", "1")])
def test_show_prints_one_thing(acme: Run, verb: tuple[str, ...]) -> None:
    """A line a key, or an object."""
    assert acme(*verb).out.strip()
    assert isinstance(acme(*verb, "--json").data, dict)


def test_names_in_certificates_cannot_draw_on_the_terminal(acme: Run) -> None:
    """Controls and markup of a hostile subject are shown, not obeyed."""
    hostile = CA.leaf("x\x1b[31m[red]y\u202e", **LIFE)
    acme("cert", "add", "acme", write("hostile.pem", hostile.pem), "--user", "alice")
    for options in ((), ("--json",)):
        out = acme("cert", "list", *options).out
        assert "\x1b" not in out
        assert "\u202e" not in out
    assert "[red]" in acme("cert", "list").out


@pytest.mark.parametrize("verb", [("org", "list"), ("user", "list", "acme"), ("cert", "list"), ("crl", "list")])
def test_list_goes_on_behind_the_row_that_its_hint_names(acme: Run, verb: tuple[str, ...]) -> None:
    """Page by page it prints what the whole list does, and the last page names no other."""
    acme("org", "add", "it's")
    acme("user", "add", "acme", "--", "-x y")
    acme("cert", "add", "acme", write("again.pem", CA.leaf("again", **LIFE).pem), "--user", "alice")
    every, paged, further = acme(*verb, "--json").data, [], list[str]()
    while True:
        page = acme(*verb, "--limit", "1", "--json", *further)
        paged += page.data  # type: ignore[operator]
        if "same command with" not in page.err:
            break
        further = shlex.split(page.err.partition("same command with ")[2].splitlines()[0])
    assert paged == every
    assert len(paged) == 2


def test_rows_are_written_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    """As one valid array, of none, too; with none of them kept."""
    emit([], as_json=True)
    assert capsys.readouterr().out == "[]\n"
    with Path(os.devnull).open("w", encoding="ascii") as sink, contextlib.redirect_stdout(sink):
        tracemalloc.start()
        emit_page(({"user": f"user{i}"} for i in range(20_000)), "user", None, as_json=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_000_000
