"""docs/radar.md is true: every command of it works, on a directory with a user, a CA and a refusal."""

from __future__ import annotations

import asyncio
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_world import ALICE, CA, CRL_LIFE, HOST, NOW, ROOT, Run, authz
from support.decision_world import Says
from support.directory import DirectoryStore
from support.generate_docs import ROOT as REPOSITORY
from support.recorded import decide_and_keep

from authz.app.config import ListenerSettings
from authz.app.listeners import listener_of
from authz.headers import present
from authz.model import CheckRequest, Expiring
from authz.pki import Certificate, Crl

PAGE = (REPOSITORY / "docs" / "radar.md").read_text(encoding="utf-8")
CRL = Crl(CA.crl(number=1, **CRL_LIFE))
LINES = re.findall(r"^\$ authz (.+)$", PAGE, re.MULTILINE)


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in a folder with a directory in which alice was refused once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTHZ_DATABASE", "sqlite:///test.db")
    assert authz("db", "init").code == 0
    assert authz("org", "add", "acme", "--host", HOST).code == 0
    assert authz("user", "add", "acme", "alice").code == 0
    store = DirectoryStore("sqlite:///test.db")
    store.add_anchors("acme", [Certificate.parse(ROOT.der)])
    store.add_intermediates("acme", [Certificate.parse(CA.der)])
    store.add_crl(CRL, NOW)
    store.close()
    headers = ((b"x-forwarded-client-cert", present(ALICE.der, [CA.der])), (b"x-authz-peer", b"sha256=" + digest()))
    listener = replace(listener_of(ListenerSettings(name="envoy")), identity=(Says("alice"),))
    asyncio.run(decide_and_keep(CheckRequest("5e7fa3" + "0" * 26, HOST, headers, "GET", "/"), listener))
    return authz


def digest() -> bytes:
    """As the proxy states it."""
    return ALICE.sha256.hex().encode()


@pytest.mark.slow
def test_every_command_of_the_page_works(operator: Run) -> None:
    """With the beginnings of the CAs' own SHA-256, and the CRL's, for the one that the page has."""
    assert len(LINES) == 12
    Path("access.log").touch()
    for line in LINES:
        shown = {"intermediate": CA.sha256, "crl": CRL.sha256}.get(line.split()[0], ROOT.sha256)
        done = operator(*shlex.split(line.replace("3f2a", shown.hex()[:8])))
        assert done.code == 0, line + done.err


def test_page_names_every_kind_that_can_end() -> None:
    """In its table."""
    table = "".join(re.findall(r"^\| `.+$", PAGE, re.MULTILINE))
    assert {kind for kind in Expiring if f"`{kind}`" not in table} == set()
