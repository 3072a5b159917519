"""Where what workers say of paths is read, one path at a time, so that no flood of them silences the keeper of CRLs.

Anybody with a certificate of an organization's CA can have its path told, and its certificates may take 15 ms to read.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

MAX_QUEUED_EACH: Final = 2 * 1024 * 1024
"""Octets of one organization's paths that wait to be read: some 700 of usual ones, 40 of the largest."""

OVERHEAD: Final = 1_024
"""Octets that a path takes besides its certificates."""


class Desk:
    """Reads one path a turn of the event loop, of each organization in turn, for half of the time at most."""

    def __init__(self) -> None:
        self._queues: OrderedDict[int, deque[tuple[int, Callable[[], None]]]] = OrderedDict()
        self._octets: dict[int, int] = {}
        self._some = asyncio.Event()

    def put(self, organization: int, octets: int, read: Callable[[], None]) -> bool:
        """Have `read` called when it is its turn; False where too many of the organization's paths wait."""
        size = octets + OVERHEAD
        if self._octets.get(organization, 0) + size > MAX_QUEUED_EACH:
            return False
        self._octets[organization] = self._octets.get(organization, 0) + size
        self._queues.setdefault(organization, deque()).append((size, read))
        self._some.set()
        return True

    async def serve(self) -> None:
        """Read, for ever."""
        while True:
            while not self._queues:
                self._some.clear()
                await self._some.wait()
            began = time.monotonic()
            self._next()()
            # What `read` began goes on first; then everybody else has as much time as that took.
            await asyncio.sleep(0)
            await asyncio.sleep(time.monotonic() - began)

    def _next(self) -> Callable[[], None]:
        organization, queue = self._queues.popitem(last=False)
        size, read = queue.popleft()
        self._octets[organization] -= size
        if queue:
            self._queues[organization] = queue
        else:
            del self._octets[organization]
        return read
