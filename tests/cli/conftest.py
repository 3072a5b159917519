"""Runs the command as a user does, but for the process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_world import ALICE, CA, CRL_LIFE, HOST, ROOT, Done, Run, write
from pki_factory import chain_pem

from authz.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `authz ARGUMENTS…` in a folder of its own; files named in `files` are written there first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTHZ_DATABASE", "sqlite:///test.db")

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["authz", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def acme(run: Run) -> Run:
    """An organization with its CA, its CRLs, alice and her certificate."""
    for arguments in (
        ("org", "add", "acme", "--host", HOST),
        ("anchor", "add", "acme", write("root.pem", ROOT.pem)),
        ("intermediate", "add", "acme", write("ca.pem", CA.pem)),
        ("crl", "add", write("root.crl", ROOT.crl(**CRL_LIFE))),
        ("crl", "add", write("ca.crl", CA.crl(**CRL_LIFE))),
        ("user", "add", "acme", "alice"),
        ("cert", "add", "acme", write("alice.pem", chain_pem(ALICE, CA)), "--label", "laptop"),
    ):
        done = run(*arguments)
        assert done.code == 0, done.err
    return run
