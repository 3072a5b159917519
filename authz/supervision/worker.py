"""A worker: answers checks on the sockets that all workers share, with CRLs that another process keeps."""

from __future__ import annotations

import gc
import resource
import socket
import sys
from operator import itemgetter
from typing import Any, Final

from authz.app.config import Settings
from authz.app.crls import SubscribedCrls
from authz.app.listeners import Sockets
from authz.app.worker_app import WorkerApp
from authz.clock import SystemClock
from authz.model import key_set_id
from authz.supervision.child import Child
from authz.supervision.control import MAX_KEY_SETS, ControlMessage
from authz.telemetry import DescriptorOutput, Telemetry

DATA_FACTOR: Final = 2
"""The memory that a worker may allocate at most, in multiples of that at which it is replaced."""

YOUNG_OBJECTS: Final = 1_000
"""Objects after which the collector looks for cycles: among as many that stay, as new leaves leave them, in 1 ms."""

NEVER: Final = 2**31 - 1
"""The most that the collector's thresholds may be."""


def settle() -> None:
    """Exempt from garbage collection what start-up made, and what has lived through two collections.

    That is what the caches hold, which make no cycles: to look through 60,000 leaves took 280 ms, in which no check
    is answered, again and again while one tenant sends new ones. Cycles that live so long stay until the worker is
    replaced, at `limits.worker_memory`; checks leave none (tests/test_service.py).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, NEVER)


class Worker:
    """Implements `authz.supervision.child.ChildTask`. Made inside the event loop."""

    def __init__(self, settings: Settings, sockets: Sockets, telemetry: Telemetry, child: Child) -> None:
        self._telemetry = telemetry
        self._crls = SubscribedCrls(settings, SystemClock(), telemetry)
        self._child = child
        self._crls.view.failed_by = child.fail
        self._crls.view.lost = child.unlinked
        self._app = WorkerApp(settings, telemetry, sockets, self._crls)
        self._app.failed_by = child.fail

    async def start(self) -> None:
        """See the protocol."""
        await self._app.start()
        settle()

    async def stop(self) -> None:
        """See the protocol."""
        try:
            await self._app.stop()
        finally:
            self._telemetry.count()

    def receive(self, message: ControlMessage) -> None:
        """See the protocol: a link to the present CRL manager."""
        if message.descriptor is not None:
            self._crls.view.follow(socket.socket(fileno=message.descriptor))
        elif "link" in message.content:
            # The descriptor was lost on the way: this process may open no more.
            self._child.unlinked()

    def heartbeat(self) -> dict[str, Any]:
        """See the protocol."""
        self._telemetry.confirm(self._app.ready)
        self._telemetry.count()
        failing = sorted(self._app.keys.failing.items(), key=itemgetter(1))[:MAX_KEY_SETS]
        return {
            "checks": self._telemetry.checks,
            "key_sets": {key_set_id(location): round(seconds) for location, seconds in failing},
        }


def bound_memory(mebibytes: int) -> None:
    """Bound what this process may allocate; beyond it a check fails, and is denied."""
    bound = DATA_FACTOR * mebibytes << 20
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


async def answer_checks(settings: Settings, sockets: Sockets, control: socket.socket) -> int:
    """Answer checks until the supervisor ends it; return the exit code."""
    child = Child(control)
    telemetry = Telemetry(DescriptorOutput(sys.stdout.fileno()), log_decisions=settings.log.decisions)
    return await child.live(lambda: Worker(settings, sockets, telemetry, child))
