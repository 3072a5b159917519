"""`authz export`, `diff` and `apply`: what is printed, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_world import Run, write

from authz.admin import export as exporting
from authz.cli import declarative


def test_interrupt_says_what_was_stored(acme: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that nothing has to be undone."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(declarative, "take", interrupted)
    done = acme("apply", write("d.yaml", "kind: User\norganization: acme\nname: zed\n"))
    assert (done.code, "interrupted: what was stored until now stays" in done.err) == (130, True)


def test_export_of_a_directory_is_applied_without_a_change(acme: Run) -> None:
    """As YAML and as JSON lines, from a file."""
    for arguments in ((), ("--json",)):
        file = write("all.yaml", acme("export", *arguments).out)
        assert acme("diff", file, "--prune").code == 0
        assert acme("apply", file, "--prune", "--json").data == {"add": 0, "change": 0, "remove": 0, "apply": None}


def test_diff_says_what_differs_and_exits_with_one(acme: Run) -> None:
    """Each step with its place; with two where the documents cannot be applied."""
    file = write("a.yaml", "kind: User\norganization: acme\nname: alice\nenforcement: off\n")
    done = acme("diff", file, "--json")
    assert done.code == 1
    (step,) = done.data["steps"]  # type: ignore[index, call-overload]
    assert (step["object"], step["changes"], step["place"]) == (
        "user alice", "enforcement: required → off", "a.yaml:1",
    )  # fmt: skip
    assert acme("diff", write("b.yaml", "kind: Nothing\n")).code == 2
    assert acme("diff", "missing.yaml").code == 2


def test_dry_run_changes_nothing(acme: Run) -> None:
    """And says what would be removed."""
    file = write("a.yaml", "kind: User\norganization: acme\nname: bob\n")
    done = acme("apply", file, "--prune", "--dry-run")
    assert "1 to add, 0 to change" in done.err
    assert "remove  acme          user alice" in done.out
    assert [row["user"] for row in acme("user", "list", "acme", "--json").data] == ["alice"]  # type: ignore[union-attr, index, call-overload]


def test_all_errors_are_printed_with_file_and_line(acme: Run) -> None:
    """Of every document, and what to do about each."""
    text = (
        "kind: User\norganization: acme\nname: alice\nenforcement: requird\n---\nkind: User\norganization: b\nname: x\n"
    )
    done = acme("apply", write("a.yaml", text))
    assert done.code == 1
    assert "a.yaml:4: enforcement: Input should be 'off', 'observe' or 'required'" in done.err
    assert "a.yaml:6: there is no organization b for this user" in done.err
    assert "2 errors: nothing was changed" in done.err


def test_apply_for_another_revision_is_refused(acme: Run) -> None:
    """The revision that a pipeline has looked at."""
    file = write("a.yaml", "kind: User\norganization: acme\nname: bob\n")
    done = acme("apply", file, "--expect", "1")
    assert done.code == 1
    assert "no longer at 1" in done.err


def test_schema_is_printed(acme: Run) -> None:
    """For an editor."""
    assert json.loads(acme("export", "--schema").out)["$schema"].endswith("2020-12/schema")


def test_export_of_one_kind(acme: Run) -> None:
    """Certificates are large."""
    lines = acme("export", "--json", "--kind", "user").out.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["User"]
    assert acme("export", "--kind", "nonsense").code == 2
    assert Path("test.db").exists()


def test_export_says_how_many_crls_it_leaves_out(acme: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large for a document; and nothing where all are in it."""
    assert "too large" not in acme("export").err
    monkeypatch.setattr(exporting, "MAX_CRL", 0)
    done = acme("export")
    assert ("kind: Crl" in done.out, "2 CRLs are too large" in done.err) == (False, True)
