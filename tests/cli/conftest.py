"""Runs the command as a user does, but for the process."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from support.certificates import chain_pem
from support.command_world import ALICE, CA, CRL_LIFE, HOST, ROOT, Run, authz, write
from support.directory import new_store

DATABASE = "sqlite:///test.db"


@pytest.fixture(scope="session")
def new_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a directory with nothing in it."""
    file = tmp_path_factory.mktemp("new") / "test.db"
    new_store(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_directory: Path) -> Run:
    """Runs `authz ARGUMENTS…` in a folder of its own, with a directory of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(new_directory, tmp_path)
    monkeypatch.setenv("AUTHZ_DATABASE", DATABASE)
    return authz


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has a directory of the default name, and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTHZ_DATABASE", raising=False)
    new_store("sqlite:///authz.db").close()


@pytest.fixture(scope="session")
def acme_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with such a directory, in which there is an organization."""
    folder = tmp_path_factory.mktemp("acme")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patched:
        patched.setenv("AUTHZ_DATABASE", DATABASE)
        for arguments in (
            ("db", "init"),
            ("org", "add", "acme", "--host", HOST),
            ("anchor", "add", "acme", write("root.pem", ROOT.pem)),
            ("intermediate", "add", "acme", write("ca.pem", CA.pem)),
            ("crl", "add", write("root.crl", ROOT.crl(**CRL_LIFE))),
            ("crl", "add", write("ca.crl", CA.crl(**CRL_LIFE))),
            ("user", "add", "acme", "alice"),
            ("cert", "add", "acme", write("alice.pem", chain_pem(ALICE, CA)), "--user", "alice", "--label", "laptop"),
        ):
            done = authz(*arguments)
            assert done.code == 0, done.err
    return folder


@pytest.fixture
def acme(run: Run, acme_folder: Path, tmp_path: Path) -> Run:
    """An organization with its CA, its CRLs, alice and her certificate."""
    shutil.copytree(acme_folder, tmp_path, dirs_exist_ok=True)
    return run
