"""How the command prints: data on stdout, prose on stderr, nothing that draws on the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import tracemalloc
from pathlib import Path

import pytest
from support.command_world import CA, LIFE, NOW, Run, write

from authz.cli.output import emit, emit_one, emit_page
from authz.model import Expiring

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


def test_one_thing_is_a_line_for_each_key(capsys: pytest.CaptureFixture[str]) -> None:
    """In their order, the values below each other, and no markup in a text counts."""
    emit_one({"not_after": "[red]2026\n", "user": "alice"}, as_json=False)
    assert capsys.readouterr().out == "not after  [red]2026\\u000a\nuser       alice\n"


def test_names_in_certificates_cannot_draw_on_the_terminal(acme: Run) -> None:
    """Controls and markup of a hostile subject are shown, not obeyed."""
    hostile = CA.leaf("x\x1b[31m[red]y\u202e", **LIFE)
    acme("cert", "add", "acme", write("hostile.pem", hostile.pem), "--user", "alice")
    for options in ((), ("--json",)):
        out = acme("cert", "list", *options).out
        assert "\x1b" not in out
        assert "\u202e" not in out
    assert "[red]" in acme("cert", "list").out


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_rows_are_written_as_the_library_writes_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Letter for letter, whatever their values are."""
    plain = {"text": '\u00fc\n\u2028"', "none": None, "yes": True, "count": 1, "share": 0.5, "\u00fc": [], "no": {}}
    nested = {"list": [1, ["a", {}], {"x": [1]}], "object": {"a": {"b": []}}}
    for rows in ([], [{}], [plain], [{}, plain, nested]):
        emit(iter(rows), as_json=True)
        assert capsys.readouterr().out == json.dumps(rows, indent=2) + "\n"
    emit([{"digest": b"\xab", "moment": NOW, "kind": Expiring.CRL, "pair": ("a", 1)}], as_json=True)
    written = {"digest": "ab", "moment": NOW.isoformat(), "kind": "crl", "pair": ["a", 1]}
    assert capsys.readouterr().out == json.dumps([written], indent=2) + "\n"
