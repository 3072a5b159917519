"""What every verb shares: the settings, the directory, and the directory that they name."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_world import Run, write


def test_config_file_names_the_database(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no variable does; a wrong file is an error."""
    monkeypatch.delenv("AUTHZ_DATABASE")
    write("authz.toml", 'database = "sqlite:///other.db"')
    assert run("--config", "authz.toml", "db", "init").code == 0
    assert run("--config", "authz.toml", "org", "add", "acme").code == 0
    assert Path("other.db").exists()
    write("bad.toml", "nonsense = 1")
    assert run("--config", "bad.toml", "org", "list").code == 1
