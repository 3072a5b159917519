"""docs/administration.md is true: every command of it, in its order, on an operator's files."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from support.certificates import Authority, chain_pem
from support.command_world import CRL_LIFE, LIFE, Run, authz
from support.generate_docs import ROOT

PAGE = (ROOT / "docs" / "administration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(console|yaml)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in a folder with the files that the page names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTHZ_DATABASE", "sqlite:///authz.db")
    root = Authority.root("Roots", **LIFE)
    issuing, private = root.intermediate("Issuing CA", **LIFE), Authority.root("Private Root", **LIFE)
    files = {"roots.pem": root.pem, "issuing-ca.pem": issuing.pem, "private-root.pem": private.pem}
    files |= {f"{name}-chain.pem": chain_pem(issuing.leaf(name, **LIFE), issuing) for name in ("alice", "bob")}
    files |= {"alice-private.pem": private.leaf("alice", **LIFE).pem, "bob-today.pem": private.leaf("bob", **LIFE).pem}
    files |= {"renewed/bob.pem": private.leaf("bob", **LIFE).pem}
    for folder in ("directory", "renewed"):
        Path(folder).mkdir()
    for name, text in files.items():
        Path(name).write_text(text, encoding="ascii")
        if "/" not in name:
            Path("directory", name).write_text(text, encoding="ascii")
    for name, authority in (("root", root), ("issuing", issuing), ("private-root", private)):
        Path(f"{name}.crl").write_bytes(authority.crl(**CRL_LIFE))
    return authz


@pytest.mark.slow
def test_every_command_of_the_page_does_what_it_says(operator: Run) -> None:
    """With exit code 0, or the one that stands behind it."""
    commands = 0
    for kind, text in BLOCKS:
        if kind == "yaml":
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            assert line.startswith("$ authz "), line
            words, _, code = line.removeprefix("$ authz ").partition("  # exits with ")
            if "--checkpoint" in words:
                state = operator("audit", "verify", "--json").data
                fields = {name: state[name] for name in ("origin", "size", "head")}  # type: ignore[index, call-overload]
                Path("checkpoint.json").write_text(json.dumps({"event": "audit_checkpoint", **fields}))
            done = operator(*shlex.split(words))
            assert done.code == int(code or 0), line + done.err
            commands += 1
    assert commands >= 30
    assert {row["user"] for row in operator("user", "list", "acme", "--json").data} == {"alice"}  # type: ignore[union-attr, index, call-overload]


def test_schema_that_is_shipped_is_named_by_the_page() -> None:
    """And it is a schema."""
    assert "deploy/directory.schema.json" in PAGE
    schema = json.loads((ROOT / "deploy" / "directory.schema.json").read_text(encoding="utf-8"))
    assert schema["discriminator"]["propertyName"] == "kind"
