"""Whom `required` would refuse, as the operator reads it."""

from __future__ import annotations

from support.command_world import ALICE, NOW, Run, write
from support.sightings import add_sighting

from authz.directory import Store


def test_each_user_is_a_row_and_the_sums_are_prose(acme: Run) -> None:
    """And from when on there are records."""
    acme("user", "set", "acme", "alice", "--enforcement", "observe")
    nothing = acme("rehearse", "acme", "--enforcement", "required", "--json")
    assert [(row["user"], row["outcome"]) for row in nothing.data] == [("alice", "never seen")]  # type: ignore[attr-defined]
    assert "(nothing was recorded)" in nothing.err
    store = Store("sqlite:///test.db")
    add_sighting(store, "acme", "alice", NOW, matched="certificate", not_after=NOW, sha256=ALICE.sha256)
    store.close()
    done = acme("rehearse", "acme")
    said = "passes: 1; not compared: 0; never seen: 0; ended: 0; refused already: 0"
    assert f"{said} (recorded since {NOW:%Y-%m-%d %H:%M:%SZ})" in done.err
    assert "alice" in done.out


def test_unknown_organization_is_an_error(run: Run) -> None:
    """With the command that adds it."""
    assert "hint: add it" in run("rehearse", "nowhere").err


def test_history_that_is_off_records_nothing(acme: Run) -> None:
    """Then there is nothing to rehearse."""
    settings = write("authz.toml", "[history]\nrows = 0\n")
    assert "hint: nothing is recorded: history.rows is 0" in acme("--config", settings, "rehearse", "acme").err
