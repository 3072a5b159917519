"""`authz audit`: who changed what, and whether the log of it is whole."""

from __future__ import annotations

import json
from pathlib import Path

from support.command_world import Run
from support.directory import new_store

DATABASE = "sqlite:///test.db"


def sql(statement: str) -> None:
    """Change the file by hand."""
    store = new_store(DATABASE)
    with store.transaction() as connection:
        connection.exec_driver_sql(statement)
    store.close()


def rows(run: Run, *arguments: str) -> list[dict[str, object]]:
    """What `audit list` prints as JSON."""
    return run("audit", "list", "--json", *arguments).data  # type: ignore[return-value]


def test_every_verb_that_changes_something_is_in_the_list(acme: Run) -> None:
    """The newest first, with who did it."""
    acme("user", "set", "acme", "alice", "--off")
    acme("cert", "retire", "1")
    acme("user", "remove", "acme", "alice")
    every = [f"{row['action']} {str(row['object']).split()[0]}" for row in rows(acme)]
    assert every == [
        "remove user", "retire certificate", "change user", "add certificate", "add user", "add crl", "add crl",
        "add intermediate", "add anchor", "add organization", "begin audit",
    ]  # fmt: skip
    assert all(str(row["actor"]).startswith("local:") and row["via"] == "command" for row in rows(acme))


def test_list_is_narrowed_and_goes_on(acme: Run) -> None:
    """By organization, object, and behind an entry."""
    assert {row["organization"] for row in rows(acme, "--organization", "acme")} == {"acme"}
    assert [row["object"] for row in rows(acme, "--object", "user alice")] == ["user alice"]
    assert [row["id"] for row in rows(acme, "--after", "3")] == [2, 1]
    assert "hint: there are more: the same command with --after=" in acme("audit", "list", "--limit", "2").err


def test_show_has_what_was_before_and_after(acme: Run) -> None:
    """As values in JSON, and as text in a table."""
    acme("user", "set", "acme", "alice", "--enforcement", "observe")
    number = str(rows(acme)[0]["id"])
    shown = acme("audit", "show", number, "--json").data
    assert shown["before"]["enforcement"] == "required"  # type: ignore[index, call-overload]
    assert shown["after"]["enforcement"] == "observe"  # type: ignore[index, call-overload]
    assert '"enforcement": "observe"' in acme("audit", "show", number).out
    assert "hint: list them with 'authz audit list'" in acme("audit", "show", "99").err


def test_verify_compares_with_a_checkpoint_on_the_line_or_in_a_file(acme: Run) -> None:
    """Exit code 0 where it is sound, and 1 with every problem where it is not."""
    head = acme("audit", "verify", "--json").data
    line = json.dumps({"event": "audit_checkpoint", **{key: head[key] for key in ("origin", "size", "head")}})  # type: ignore[index, call-overload]
    Path("checkpoint.json").write_text(f"{{}}\n{line}\n", encoding="utf-8")
    Path("service.log").write_text(f"{line}\n{{}}\n", encoding="utf-8")
    for given in (line, "checkpoint.json", "service.log"):
        assert acme("audit", "verify", "--checkpoint", given).code == 0
    sql("UPDATE audit SET actor = 'local:0 root ' WHERE id = 3")
    sql("UPDATE users SET enforcement = 'off'")
    done = acme("audit", "verify", "--checkpoint", line)
    assert done.code == 1
    assert "entry 3 is not as it was written" in done.err
    assert "changed the directory without an entry" in done.err
    for given in ("nonsense", "/dev/zero", "."):
        assert acme("audit", "verify", "--checkpoint", given).code == 1


def test_list_reports_what_changed_beside_it(acme: Run) -> None:
    """On stderr, so that the table stays a table."""
    sql("UPDATE users SET enforcement = 'off'")
    done = acme("audit", "list")
    assert "changed the directory without an entry (after the last entry)" in done.err
    assert "hint: something wrote to the database" in done.err


def test_prune_needs_a_bound_and_is_in_the_list(acme: Run) -> None:
    """What went is counted."""
    assert acme("audit", "prune").code == 2
    assert acme("audit", "prune", "--max-bytes", "0", "--json").data == {"removed": 6}
    assert [row["action"] for row in rows(acme)] == ["prune", "add", "begin"]
    assert acme("audit", "verify").code == 0
