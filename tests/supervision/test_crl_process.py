"""The process that keeps the CRLs for all, and what it is told."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from authz.app.config import parse_settings
from authz.app.listeners import Sockets
from authz.supervision.child import Child
from authz.supervision.control import Told, pair
from authz.supervision.crl_process import Keeper
from authz.telemetry import Telemetry


async def test_link_that_was_lost_on_the_way_says_nothing_of_the_processes(tmp_path: Path) -> None:
    """They fare as was told before, and the worker at its other end hears that it is closed."""
    settings = parse_settings({"database": f"sqlite:///{tmp_path}/authz.db"}, origin="test")
    ours, theirs = pair()
    made = Keeper(settings, Sockets({}), Telemetry(BytesIO()), Child(theirs), {})
    made.told(Told({"processes": {}, "restarts": {}, "answering": True}))
    made.told(Told({"link": True}))
    assert made._processes.answering
    await made.stop()
    ours.close()
    theirs.close()
