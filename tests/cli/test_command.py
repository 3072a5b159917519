"""The command from end to end: an organization is set up, a request decided, a certificate retired, a CRL published."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_world import CA, HOST, ROOT, Run
from typer.core import TyperGroup
from typer.main import get_command

from authz.cli import app


def test_remove_takes_things_away(acme: Run) -> None:
    """Each verb of its own."""
    digest = acme("anchor", "list", "--json").data[0]["sha256"]  # type: ignore[index]
    known = acme("intermediate", "list", "--json").data[0]["sha256"]  # type: ignore[index]
    for verb in (
        ("anchor", "remove", "acme", digest),
        ("intermediate", "remove", "acme", known),
        ("user", "remove", "acme", "alice"),
        ("org", "remove", "acme"),
    ):
        assert acme(*verb).code == 0
    assert acme("org", "list", "--json").data == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("org", "add"),
        ("nonsense",),
        ("anchor", "add", "x.pem"),
        ("anchor", "add", "--shared", "a", "b"),
        ("anchor", "remove", "acme", "zz"),
        ("user", "add", "acme", "x", "--enforcement", "maybe"),
        ("cert", "retire", "x"),
        ("check", "h", "u", "--at", "yesterday"),
    ],
)
def test_words_that_are_wrong_exit_two(run: Run, arguments: tuple[str, ...]) -> None:
    """Usage is distinguished from failure."""
    assert run(*arguments).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "add", "nobody", "x"),
        ("org", "show", "nobody"),
        ("cert", "show", "9"),
        ("anchor", "add", "nobody", "root.pem"),
        ("anchor", "add", "acme", "alice.pem"),
        ("crl", "add", "alice.pem"),
        ("crl", "add", "missing.crl"),
        ("cert", "add", "acme", "missing.pem", "--user", "alice"),
        ("org", "add", "acme"),
        ("user", "add", "acme", "alice"),
        ("cert", "add", "acme", "alice.pem", "--user", "alice"),
        ("cert", "add", "acme", "alice.pem", "--user", ""),
        ("org", "add", "other", "--host", HOST),
        ("org", "set", "acme", "--host", "not a host"),
        ("anchor", "export", "--out", "no/such/folder/bundle.pem"),
        ("crl", "add", "ca.crl"),
    ],
)
def test_failure_exits_one_with_a_sentence_and_no_traceback(acme: Run, arguments: tuple[str, ...]) -> None:
    """Unknown names, wrong files, duplicates."""
    done = acme(*arguments)
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("authz: ")
    assert "hint: " in done.err
    assert "Traceback" not in done.err


def test_version_and_help_are_reported(run: Run) -> None:
    """The first things anybody asks for."""
    assert run("--version").out.startswith("authz ")
    assert "Example" in run("cert", "add", "--help").out


def verbs() -> list[tuple[str, ...]]:
    """Every verb there is."""
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    found: list[tuple[str, ...]] = []
    for name, command in root.commands.items():
        found += [(name, verb) for verb in command.commands] if isinstance(command, TyperGroup) else [(name,)]
    return found


# What runs until it is stopped prints nothing but its log, which is JSON already.
RUNNING = {("serve",)}


@pytest.mark.parametrize("verb", sorted(set(verbs()) - RUNNING), ids=" ".join)
def test_every_verb_has_json(run: Run, verb: tuple[str, ...]) -> None:
    """Where it prints data."""
    assert "--json" in run(*verb, "--help").out
    assert run(*verb, "--json", "--no-such-option").code == 2


@pytest.mark.parametrize("verb", verbs(), ids=" ".join)
def test_every_verb_shows_an_example_of_itself(run: Run, verb: tuple[str, ...]) -> None:
    """One that can be typed: its options are there."""
    told = " ".join(run(*verb, "--help").out.split())
    (example,) = re.findall(r"Example: (authz .*?)(?: \(|,|\.? ?$|\. )", told)
    words = example.split()
    assert words[: len(verb) + 1] == ["authz", *verb] or words[:3] == ["authz", "--config", "authz.toml"]
    assert all(word in told.partition("Example:")[0] for word in words[len(verb) + 1 :] if word.startswith("--"))


CHANGES = [
    ("org", "set", "acme", "--binding-scope", "user"),
    ("org", "add", "other"),
    ("anchor", "add", "--shared", "root.pem"),
    ("intermediate", "add", "acme", "ca.pem"),
    ("anchor", "export", "--out", "bundle.pem"),
    ("anchor", "export", "--sds", "sds.yaml", "--request-level"),
    ("anchor", "remove", "acme", ROOT.sha256.hex()),
    ("intermediate", "remove", "acme", CA.sha256.hex()),
    ("cert", "retire", "1"),
    ("user", "add", "acme", "bob"),
    ("user", "remove", "acme", "alice"),
    ("org", "remove", "acme"),
]


@pytest.mark.parametrize("verb", CHANGES, ids=lambda verb: " ".join(verb[:3]))
def test_change_as_json_prints_one_document(acme: Run, verb: tuple[str, ...]) -> None:
    """What was changed, and nothing else on stdout."""
    done = acme(*verb, "--json")
    assert done.code == 0, done.err
    assert done.data


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("authz ", "decisions"), ("authz org ", "add"), ("authz user add acme x --enf", "--enforcement")],
)
@pytest.mark.slow
def test_shell_completes_words(typed: str, offered: str) -> None:
    """As bash asks, once `authz --install-completion` was run."""
    words = typed.split(" ")
    environment = {
        **os.environ,
        "_AUTHZ_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [Path(sys.executable).parent / "authz"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert offered in done.stdout.split(), done.stderr
