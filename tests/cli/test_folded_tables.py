"""Tables whose rows are folded, or hold other letters than ASCII."""

from __future__ import annotations

import pytest

from authz.cli.folded_tables import print_rows


def test_row_is_a_line_under_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """Never folded where a program reads it, and no markup in a text counts."""
    print_rows([{"user_name": "[red]alice", "subject": "x" * 300}, {"user_name": "b", "subject": "y"}])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["user", "name", "subject"]
    assert first.split() == ["[red]alice", "x" * 300]
    assert second.split() == ["b", "y"]
