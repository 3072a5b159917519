"""`authz demo`, as far as the command does it."""

from __future__ import annotations

import pytest
from support.command_world import Run

from authz.cli import demonstration


def test_options_of_the_demonstration_are_passed_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code is the command's."""
    seen: list[dict[str, bool]] = []
    monkeypatch.setattr(demonstration, "run_demo", lambda **options: seen.append(options) or 3)
    assert run("demo", "--once", "--json").code == 3
    assert seen == [{"once": True, "request_level": False, "as_json": True}]


def test_folders_are_filled_instead_of_a_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the database of the settings; the lines to try are printed as they are."""
    monkeypatch.setattr(demonstration, "fill_folders", lambda folder, database: f"{folder} {database}")
    assert run("demo", "--fill", "there").out == "there sqlite:///test.db"
