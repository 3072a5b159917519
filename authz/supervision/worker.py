"""A worker: answers checks on the sockets that all workers share, with CRLs that another process keeps."""

from __future__ import annotations

import gc
import resource
import socket
from typing import Any, Final

from authz.app.config import Settings
from authz.app.crls import Followed
from authz.app.listeners import Sockets
from authz.app.worker_app import Runtime
from authz.clock import SystemClock
from authz.supervision.child import Child
from authz.supervision.control import Told
from authz.telemetry import Telemetry

DATA_FACTOR = 2
"""Memory that a worker may have at all, in multiples of that at which it is replaced."""

YOUNG_OBJECTS: Final = 5_000
"""Objects after which the collector looks for cycles, in some 90 us: after 700, the default, it cost 2 % of a check."""


def settle() -> None:
    """What start-up made lives as long as the process: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 10)


class Worker:
    """Implements `authz.supervision.child.Part`. Made inside the event loop."""

    def __init__(self, settings: Settings, sockets: Sockets, telemetry: Telemetry, child: Child) -> None:
        self._telemetry = telemetry
        self._crls = Followed(settings, SystemClock(), telemetry)
        self._child = child
        self._crls.view.failed_by = child.fail
        self._crls.view.lost = child.unlinked
        self._runtime = Runtime(settings, telemetry, sockets=sockets, crls=self._crls)
        self._runtime.failed_by = child.fail

    async def start(self) -> None:
        """See the protocol."""
        await self._runtime.start()
        settle()

    async def stop(self) -> None:
        """See the protocol."""
        try:
            await self._runtime.stop()
        finally:
            self._telemetry.count()

    def told(self, told: Told) -> None:
        """See the protocol: a link to whoever keeps the CRLs now."""
        if told.descriptor is not None:
            self._crls.view.follow(socket.socket(fileno=told.descriptor))
        elif "link" in told.what:
            # It was lost on the way: this process may open no more.
            self._child.unlinked()

    def beat(self) -> dict[str, Any]:
        """See the protocol."""
        self._telemetry.confirm(self._runtime.ready)
        self._telemetry.count()
        return {"checks": self._telemetry.checks}


def bound_memory(mebibytes: int) -> None:
    """Bound what this process may allocate; beyond it a check fails, and is denied."""
    octets = DATA_FACTOR * mebibytes << 20
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    narrow = octets if hard == resource.RLIM_INFINITY else min(octets, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (narrow, narrow))


async def work(settings: Settings, sockets: Sockets, control: socket.socket) -> int:
    """Answer checks until the supervisor ends it; the exit code."""
    child = Child(control)
    telemetry = Telemetry(log_decisions=settings.log.decisions)
    return await child.live(lambda: Worker(settings, sockets, telemetry, child))
