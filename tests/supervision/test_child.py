"""What a child tells the supervisor, also when it is not heard at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from socket import socket
from typing import Any

import pytest

from authz.supervision import child
from authz.supervision.child import Child
from authz.supervision.control import ControlMessage, receive, send

Ends = tuple[socket, socket]


class Idle:
    """A part that does nothing."""

    async def start(self) -> None:
        """See the protocol."""

    async def stop(self) -> None:
        """See the protocol."""

    def receive(self, message: ControlMessage) -> None:
        """See the protocol."""

    def heartbeat(self) -> dict[str, Any]:
        """See the protocol."""
        return {}


async def test_lost_link_that_cannot_be_reported_at_once_is_later(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor is behind; a worker that stayed without a link would answer nothing for ever."""
    monkeypatch.setattr(child, "HEARTBEAT_SECONDS", 0.0)
    ours, theirs = ends
    made = Child(theirs)
    while send(theirs, None, {}):
        pass
    made.unlinked()
    list(heard(ours))
    living = asyncio.create_task(made.live(Idle))
    said: list[dict[str, Any]] = []
    while sum("ready" in one for one in said) < 10:
        await asyncio.sleep(0)
        said += heard(ours)
    ours.close()
    assert await living == 0
    assert said.count({"unlinked": True}) == 1


def heard(end: socket) -> Iterator[dict[str, Any]]:
    """What arrived since."""
    while (told := receive(end)) is not None:
        yield told.content
