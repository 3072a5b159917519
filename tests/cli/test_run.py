"""`authz serve`, as far as the command does it."""

from __future__ import annotations

import pytest
from support.command_world import authz, prepare_canary

from authz.admin.canary import CANARY
from authz.cli import run
from authz.errors import StoreError

pytestmark = pytest.mark.usefixtures("own_folder")


def test_serve_warns_of_a_left_over_canary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At its start, and only then; a directory that cannot be read is the service's to report."""
    said: list[str] = []
    monkeypatch.setattr(run, "run_service", lambda *_: None)
    monkeypatch.setattr(run.Telemetry, "warn", lambda _self, message: said.append(message))
    assert authz("serve").code == 0
    prepare_canary()
    assert (authz("serve").code, len(said)) == (0, 1)
    assert CANARY in said[0]
    monkeypatch.setattr(run, "is_left_over", lambda _store: (_ for _ in ()).throw(StoreError("no", hint="")))
    assert (authz("serve").code, len(said)) == (0, 1)
