"""Tables on stdout."""

from __future__ import annotations

import shutil
import sys
from os import terminal_size

import pytest

from authz.cli import folded_tables, tables

ROWS = [{"user_name": "[red]alice", "subject": "x" * 30, "on": "yes"}, {"user_name": "b", "subject": "-", "on": "no"}]


def printed(module: object, rows: list[dict[str, str]], capsys: pytest.CaptureFixture[str]) -> str:
    """What a module prints."""
    module.print_rows(rows)  # type: ignore[attr-defined]
    return capsys.readouterr().out


def test_table_is_the_library_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever prints it: a pipe is never folded, and no markup in a text counts."""
    for rows in (ROWS, ROWS[:1], [{"a": "x" * 600, "b": "y" * 300}]):
        assert printed(tables, rows, capsys) == printed(folded_tables, rows, capsys)


@pytest.mark.parametrize(
    ("width", "text", "folded"), [(47, "x", False), (46, "x", True), (47, "ü", True), (47, "界", True)]
)
def test_library_prints_what_must_be_folded_or_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, text: str, folded: bool
) -> None:
    """The terminal's width, and letters of any width."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: terminal_size((width, 24)))
    asked: list[object] = []
    monkeypatch.setattr(folded_tables, "print_rows", asked.append)
    printed(tables, [*ROWS, {"user_name": text, "subject": "", "on": ""}], capsys)
    assert bool(asked) is folded


@pytest.mark.parametrize(("terminal", "head"), [("xterm", "\033[1ma\033[0m"), ("dumb", "a"), (None, "a")])
def test_head_is_bold_where_the_terminal_can(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: str | None, head: str
) -> None:
    """TERM says whether it can."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("TERM", raising=False)
    if terminal is not None:
        monkeypatch.setenv("TERM", terminal)
    assert printed(tables, [{"a": "b"}], capsys).splitlines() == [head, "b"]
