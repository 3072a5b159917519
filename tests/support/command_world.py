"""An organization as the command sets it up: its CAs, its users' certificates, and what a call printed."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
import typer.main

from authz import cli
from authz.cli import main
from support.certificates import Authority

NOW = datetime.now(UTC)
LIFE = {"not_before": NOW - timedelta(days=1), "not_after": NOW + timedelta(days=30)}
CRL_LIFE = {"this_update": NOW - timedelta(hours=1), "next_update": NOW + timedelta(days=1)}
ROOT = Authority.root("Root", **LIFE)
CA = ROOT.intermediate("CA", **LIFE)
ALICE, BOB = CA.leaf("alice", **LIFE), CA.leaf("bob", **LIFE)
HOST = "api.acme.test"
CANARY_HOST = "canary.acme.example"


@dataclass
class Done:
    """What a call printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> object:
        """The JSON on stdout."""
        return json.loads(self.out)


Run = Callable[..., Done]

_get_command, _load = cache(typer.main.get_command), cache(cli.load)
"""Typer builds a verb anew for each call, which took a third of the time of these tests."""


def authz(*arguments: str) -> Done:
    """What `authz ARGUMENTS…` does, but for the process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with (
        pytest.MonkeyPatch.context() as patched,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patched.setattr(sys, "argv", ["authz", *arguments])
        patched.setattr(typer.main, "get_command", _get_command)
        patched.setattr(cli, "load", _load)
        with pytest.raises(SystemExit) as ended:
            main()
    texts = [one.buffer.getvalue().decode() for one in (out, err)]  # type: ignore[attr-defined]
    return Done(int(ended.value.code or 0), *texts)


def prepare_canary() -> Path:
    """A canary of the directory in the current folder; its own folder."""
    done = authz("doctor", "prepare", "canary", "--host", CANARY_HOST)
    assert done.code == 0, done.err
    return Path("canary")


def write(name: str, content: str | bytes) -> str:
    """A file in the current folder; its name."""
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name
