"""What every verb shares: the settings, the directory, and how moments are written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from support.command_world import Run, write

from authz.cli.options import moment


def test_config_file_names_the_database(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no variable does; a wrong file is an error."""
    monkeypatch.delenv("AUTHZ_DATABASE")
    write("authz.toml", 'database = "sqlite:///other.db"')
    assert run("--config", "authz.toml", "db", "init").code == 0
    assert run("--config", "authz.toml", "org", "add", "acme").code == 0
    assert Path("other.db").exists()
    write("bad.toml", "nonsense = 1")
    assert run("--config", "bad.toml", "org", "list").code == 1


@pytest.mark.parametrize("text", ["2026-12-31T23:00", "2026-12-31T23:00:00Z", "2027-01-01T01:00+02:00"])
def test_moment_without_an_offset_is_utc(text: str) -> None:
    """Another offset counts."""
    assert moment(text) == datetime(2026, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1767225600", "23:00"])
def test_moment_that_cannot_be_read_is_wrong_usage(text: str) -> None:
    """The message shows the form."""
    with pytest.raises(typer.BadParameter, match="2026-12-31T23:59:59Z"):
        moment(text)
