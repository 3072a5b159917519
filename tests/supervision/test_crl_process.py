"""The process that keeps the CRLs for all, and the messages that it receives."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

from authz.app.config import parse_settings
from authz.app.listeners import Sockets
from authz.supervision.child import Child
from authz.supervision.control import ControlMessage, control_pair
from authz.supervision.crl_process import CrlManager
from authz.telemetry import Telemetry


async def test_link_that_was_lost_on_the_way_says_nothing_of_the_processes(tmp_path: Path) -> None:
    """Their status stays the one reported before, and the worker at its other end finds it closed."""
    settings = parse_settings({"database": f"sqlite:///{tmp_path}/authz.db"}, origin="test")
    ours, theirs = control_pair()
    made = CrlManager(settings, Sockets({}), Telemetry(BytesIO()), Child(theirs), {})
    made.receive(ControlMessage({"processes": {}, "restarts": {}, "answering": True}))
    made.receive(ControlMessage({"link": True}))
    assert made._processes.answering
    await made.stop()
    ours.close()
    theirs.close()


async def test_operators_listeners_close_together(tmp_path: Path) -> None:
    """Each waits for clients that say nothing, and no connection is accepted until the next process begins."""
    ops = {"address": "127.0.0.1:0", "health_probe_address": "127.0.0.1:0"}
    settings = parse_settings({"database": f"sqlite:///{tmp_path}/authz.db", "ops": ops}, origin="test")
    ours, theirs = control_pair()
    made = CrlManager(settings, Sockets({}), Telemetry(BytesIO()), Child(theirs), {})
    closing = asyncio.Barrier(2)

    async def close() -> None:
        await closing.wait()

    for server in made._servers.values():
        server.close = close  # type: ignore[method-assign]
    await asyncio.wait_for(made.stop(), 5)
    ours.close()
    theirs.close()
