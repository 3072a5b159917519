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

from authz.cli import VERBS, load


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
        ("check", "h", "u", "--at", "someday"),
        ("cert", "retire", "7", "--at", "2h"),
        ("user", "list", "acme", "--limit", str(2**63)),
        ("audit", "list", "--after", str(2**63)),
        ("audit", "show", str(2**63)),
        ("crl", "forecast", "--days", "999999999"),
        ("audit", "list", "--actor", "\udcff"),
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
        ("cert", "add", "acme", "alice.pem", "--user", "alice", "--label", "phone"),
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


def written_to(output: int, words: str, *, buffered: bool) -> subprocess.CompletedProcess[str]:
    """What became of a command whose output goes there; Python buffers what goes to no terminal, if nothing forbids."""
    command = [sys.executable, *([] if buffered else ["-u"]), "-m", "authz", *words.split()]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", ["org list", "--help"])
def test_full_disk_is_one_sentence(acme: Run, words: str, buffered: bool) -> None:
    """Of the file that the output goes to."""
    with Path("/dev/full").open("w") as full:
        done = written_to(full.fileno(), words, buffered=buffered)
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        [
            "authz: the output cannot be written: No space left on device",
            "hint: what the command changed before is changed",
        ],
    )


@pytest.mark.slow
@pytest.mark.parametrize("buffered", [True, False])
def test_reader_that_has_enough_is_no_failure_to_speak_of(acme: Run, buffered: bool) -> None:
    """`authz org list | head`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = written_to(writing, "org list", buffered=buffered)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_version_and_help_are_reported(run: Run) -> None:
    """The first things anybody asks for."""
    assert run("--version").out.startswith("authz ")
    assert "Example" in run("cert", "add", "--help").out


def verbs() -> list[tuple[str, ...]]:
    """Every verb there is."""
    found: list[tuple[str, ...]] = []
    for name, command in ((name, load(name)) for name in VERBS):
        found += [(name, verb) for verb in command.commands] if isinstance(command, TyperGroup) else [(name,)]
    return found


# What runs until it is stopped prints nothing but its log, which is JSON already.
RUNNING = {("serve",)}


@pytest.mark.parametrize("name", VERBS)
def test_verb_is_listed_as_its_own_help_begins(name: str) -> None:
    """The list is written without its module, so the two are compared here."""
    assert load(name).get_short_help_str(200) == VERBS[name].summary


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
    ("cert", "set", "1", "--label", "phone"),
    ("cert", "retire", "1"),
    ("cert", "reinstate", "1"),
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


SERVICE = ("aiohttp", "authz.crls", "authz.supervision", "authz.web", "jwt", "prometheus_client", "uvloop")
DIRECTORY = (
    "alembic", "authz.admin.plan", "authz.app.config", "authz.decision", "authz.directory.reader", "pydantic", "rich",
    "sqlalchemy.orm", "yaml",
)  # fmt: skip
ENGINE = ("authz.pki.path.builder", "authz.pki.revocation.checker")
CERTIFICATES = ("cryptography", *ENGINE)
LIBRARIES = ("authz.directory", "authz.pki", "cryptography", "pydantic", "sqlalchemy")


@pytest.mark.parametrize(
    ("words", "modules"),
    [
        ("--version", (*SERVICE, *DIRECTORY, *LIBRARIES)),
        ("--help", (*SERVICE, *DIRECTORY, *LIBRARIES)),
        ("org list", (*SERVICE, *DIRECTORY, *CERTIFICATES)),
        ("org show acme", (*SERVICE, *DIRECTORY, *CERTIFICATES)),
        ("org add new --enforcement observe", (*SERVICE, *DIRECTORY, *CERTIFICATES)),
        ("org set acme --host api.acme.example", (*SERVICE, *DIRECTORY, *CERTIFICATES)),
        ("user list acme --limit 5", (*SERVICE, *DIRECTORY, *CERTIFICATES)),
        ("user add acme new --enforcement required", (*SERVICE, *DIRECTORY, *CERTIFICATES)),
        ("user set acme alice --off", (*SERVICE, *DIRECTORY, *CERTIFICATES)),
        ("user show acme alice --json", (*SERVICE, *DIRECTORY, *ENGINE)),
        ("cert add acme alice.pem --user alice", (*SERVICE, *DIRECTORY)),
        ("cert list --json", (*SERVICE, *DIRECTORY, *ENGINE)),
        ("cert show 1", (*SERVICE, *DIRECTORY, *ENGINE)),
        ("cert set 1 --until 2040-01-01", (*SERVICE, *DIRECTORY)),
        ("cert retire 1 --json", (*SERVICE, *DIRECTORY)),
        ("anchor add acme root.pem", (*SERVICE, *DIRECTORY)),
        ("anchor list", (*SERVICE, *DIRECTORY, *ENGINE)),
        ("crl list --json", (*SERVICE, *DIRECTORY)),
        ("decisions list --json", (*SERVICE, *DIRECTORY)),
        ("db upgrade --json", (*SERVICE, "alembic", "rich")),
        ("crl forecast --json", ("alembic", "authz.supervision", "uvloop")),
        ("check api.acme.test alice --json", ("alembic", "authz.supervision", "uvloop")),
    ],
)
@pytest.mark.slow
def test_verb_imports_nothing_that_it_does_without(acme: Run, words: str, modules: tuple[str, ...]) -> None:
    """A start takes as long as its imports."""
    program = (
        "import atexit, sys; atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr)); "
        "from authz.cli import main; main()"
    )
    command = [sys.executable, "-c", program, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    imported = done.stderr.splitlines()
    assert "authz.cli" in imported
    assert done.returncode < 2
    assert [name for name in modules if name in imported] == []
