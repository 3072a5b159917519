"""The service logs the audit log's checkpoint at its start and each hour, and lives on where it cannot."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import pytest

from authz.app import audit_checkpoints
from authz.app.audit_checkpoints import log_checkpoints
from authz.directory.audit import Checkpoint
from authz.errors import Refused
from authz.reasons import Reason

STATE = Checkpoint("aa", 7, "bb")


class Directory:
    """Gives one state after another; then it cannot be read."""

    def __init__(self, *states: Checkpoint | None) -> None:
        self.states = [*states]
        self.ended = asyncio.Event()

    async def audit_checkpoint(self) -> Checkpoint | None:
        """The next, or an error."""
        if not self.states:
            self.ended.set()
            raise Refused(Reason.DIRECTORY_UNAVAILABLE)
        return self.states.pop(0)


async def test_checkpoint_is_logged_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the first entry, nor while the directory cannot be read; an hour apart."""
    assert audit_checkpoints.EVERY_SECONDS == 3_600
    monkeypatch.setattr(audit_checkpoints, "EVERY_SECONDS", 0)
    directory, lines = Directory(None, STATE, STATE), []
    task = asyncio.create_task(
        log_checkpoints(directory, lambda event, **fields: lines.append((event, fields)))  # type: ignore[arg-type]
    )
    await directory.ended.wait()
    assert lines == [("audit_checkpoint", asdict(STATE))] * 2
    assert not task.done()
    task.cancel()
