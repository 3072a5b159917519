"""What every verb shares: the settings, the directory, and the directory that they name."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from support.command_world import Run, write

from authz.cli.options import GARBAGE, expect_many_rows


def test_config_file_names_the_database(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no variable does; a wrong file is an error."""
    monkeypatch.delenv("AUTHZ_DATABASE")
    write("authz.toml", 'database = "sqlite:///other.db"')
    assert run("--config", "authz.toml", "db", "init").code == 0
    assert run("--config", "authz.toml", "org", "add", "acme").code == 0
    assert Path("other.db").exists()
    write("bad.toml", "nonsense = 1")
    assert run("--config", "bad.toml", "org", "list").code == 1


def test_verb_that_reads_many_rows_looks_for_cycles_less_often() -> None:
    """Rows make none."""
    before = gc.get_threshold()
    try:
        expect_many_rows()
        assert gc.get_threshold() == (GARBAGE, *before[1:])
    finally:
        gc.set_threshold(*before)
