"""docs/postgresql.md is true: its session works, in order, against a server of its own."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_world import authz
from support.directory import execute
from support.generate_docs import ROOT
from support.postgresql import Server

from authz.directory.postgresql.engine import POOLER
from authz.directory.postgresql.grants import ROLES
from authz.directory.postgresql.parameters import parameters_of

PAGE = (ROOT / "docs" / "postgresql.md").read_text(encoding="utf-8")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A new one, which libpq's variables name."""
    made = Server()
    made.initialize()
    made.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGHOST", str(made.folder))
    monkeypatch.setenv("PGUSER", "owner")
    monkeypatch.setenv("AUTHZ_DATABASE", "")
    monkeypatch.setenv("AUTHZ_CRL__FOLDER", "")
    yield made
    made.stop()


@pytest.mark.slow
def test_session_of_the_page_works(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line, by the user that it names."""
    [session] = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    lines = [shlex.split(line.removeprefix("$ ")) for line in session.splitlines()]
    assert len(lines) == 11
    for program, *words in lines:
        if program == "export":
            for word in words:
                monkeypatch.setenv(*word.split("=", 1))
        elif program == "psql":
            subprocess.run([server.programs / "psql", "-v", "ON_ERROR_STOP=1", *words], check=True, capture_output=True)
        else:
            done = authz(*words)
            assert done.code == 0, done.err
    [(revision,)] = execute("postgresql://checks@/directory", "SELECT revision FROM directory_state")
    assert revision == 2


def test_url_of_the_page_is_accepted_and_verified() -> None:
    """With each parameter that it names."""
    [url] = re.findall(r'^database = "(.*)"$', PAGE, re.MULTILINE)
    parameters = parameters_of(url)
    assert parameters["host"] == "db1.example,db2.example"
    assert parameters["passfile"] == "/etc/authz/pgpass"


def test_page_has_the_roles_and_the_reason_of_a_refused_pooler() -> None:
    """As the program writes them."""
    assert all(f"| `{role}` |" in PAGE for role in ROLES)
    assert POOLER in PAGE
