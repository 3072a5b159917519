"""`authz user set --all` and `--from`: many users at once, and first the list of those whom it would deny."""

from __future__ import annotations

import pytest
from support.command_world import NOW, Run, write
from support.directory import new_store

from authz.directory.schema import decisions
from authz.model import Outcome


def enforcements(run: Run) -> dict[str, str]:
    """By user."""
    return {row["user"]: row["enforcement"] for row in run("user", "list", "acme", "--json").data}  # type: ignore[union-attr, index, call-overload]


@pytest.fixture
def observed(acme: Run) -> Run:
    """Three users under observe, of whom alice was seen without a certificate."""
    for name in ("bob", "carol"):
        acme("user", "add", "acme", name, "--enforcement", "observe")
    acme("user", "set", "acme", "alice", "--enforcement", "observe")
    store = new_store("sqlite:///test.db")
    with store.transaction() as connection:
        row = {
            "decision_id": "d1", "at": NOW, "listener": "l", "outcome": Outcome.OBSERVED, "detail": "", "host": "",
            "reason": "certificate_required", "method": "", "target": "", "organization": "acme", "user_name": "alice",
            "subject": "", "organization_id": 1, "proven": True, "account": "alice", "repeats": 3,
        }  # fmt: skip
        connection.execute(decisions.insert().values(**row))
    store.close()
    return acme


def test_those_whom_it_would_deny_are_listed_first(observed: Run) -> None:
    """And nothing is changed."""
    done = observed("user", "set", "acme", "--all", "--enforcement", "required")
    assert done.code == 1
    assert "alice" in done.out
    assert "certificate_required" in done.out
    assert "hint: look at each: authz decisions list --organization acme --outcome observed" in done.err
    assert set(enforcements(observed).values()) == {"observe"}


def test_all_are_changed_in_spite_of_it(observed: Run) -> None:
    """By --anyway; each has an entry of one apply."""
    done = observed("user", "set", "acme", "--all", "--enforcement", "required", "--anyway", "--json")
    assert (done.code, done.data["changed"], len(done.data["denied"])) == (0, 3, 1)  # type: ignore[index, call-overload]
    assert set(enforcements(observed).values()) == {"required"}
    entries = observed("audit", "list", "--json", "--limit", "3").data
    assert {row["object"] for row in entries} == {"user alice", "user bob", "user carol"}  # type: ignore[union-attr, index, call-overload]
    assert observed("audit", "verify").code == 0


def test_those_of_a_file_are_changed(observed: Run) -> None:
    """Of whom none was seen with what would be denied; a name that is no user's is an error."""
    file = write("names", "bob\ncarol\r\n\nbob\n")
    assert observed("user", "set", "acme", "--from", file, "--enforcement", "required").code == 0
    assert enforcements(observed) == {"alice": "observe", "bob": "required", "carol": "required"}
    assert observed("user", "set", "acme", "--from", write("names", "zed\n"), "--enforcement", "off").code == 1
    assert observed("user", "set", "acme", "--from", write("names", ""), "--enforcement", "off").code == 1


def test_dry_run_lists_and_changes_nothing(observed: Run) -> None:
    """With exit code 0: it was asked for."""
    done = observed("user", "set", "acme", "--all", "--enforcement", "required", "--dry-run", "--json")
    assert (done.code, done.data["would_change"]) == (0, 3)  # type: ignore[index, call-overload]
    assert set(enforcements(observed).values()) == {"observe"}


def test_less_is_demanded_without_a_question(observed: Run) -> None:
    """For `off` denies none of them."""
    assert observed("user", "set", "acme", "--all", "--enforcement", "off").code == 0
    assert set(enforcements(observed).values()) == {"off"}


@pytest.mark.parametrize(
    "words", [[], ["alice", "--all"], ["--all"], ["--all", "--off"], ["--all", "--from", "x", "--enforcement", "off"]]
)
def test_words_that_contradict_each_other_are_refused(acme: Run, words: list[str]) -> None:
    """With exit code 2."""
    assert acme("user", "set", "acme", *words).code == 2
