"""Rows that checks wait for, read in turns by organization, so that a flood for one hardly delays another's."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from authz.directory.keys import RowKey
from authz.errors import Refused
from authz.reasons import Reason

MAX_BATCH: Final = 32
"""Rows read in one transaction: about 5 ms, which is as long as a row of another organization waits."""

MAX_WAITING_EACH: Final = 512
"""Rows of one organization, or hosts, that may wait to be read: half the checks that may wait in all."""

Waiters = dict[RowKey, list["asyncio.Future[None]"]]
"""What each check waits for is its own, so that one which gives up takes no other's reading with it."""


class WaitingRows:
    """Each row once, however many checks wait for it."""

    def __init__(self) -> None:
        self._waiting: dict[int, Waiters] = {}
        self._turns: deque[int] = deque()
        self._asked = asyncio.Event()

    async def wait_for(self, key: RowKey) -> None:
        """Returns when the row was read. Raises `Refused` when it could not be, or too many rows wait."""
        owner = key.organization
        waiting = self._waiting.get(owner)
        if waiting is None:
            waiting = self._waiting[owner] = {}
            self._turns.append(owner)
        futures = waiting.get(key)
        if futures is None:
            if len(waiting) >= MAX_WAITING_EACH:
                raise Refused(Reason.OVERLOADED, f"{len(waiting)} rows of one organization wait to be read")
            futures = waiting[key] = []
            self._asked.set()
        future = asyncio.get_running_loop().create_future()
        futures.append(future)
        await future

    async def asked(self) -> None:
        """Returns when rows may wait that did not before."""
        await self._asked.wait()
        self._asked.clear()

    def next_batch(self) -> list[RowKey]:
        """One row of each organization in turn; they stay where others can join them until they are read."""
        batch: list[RowKey] = []
        queues = {owner: iter(self._waiting[owner]) for owner in self._turns}
        while queues and len(batch) < MAX_BATCH:
            for owner in list(queues):
                key = next(queues[owner], None)
                if key is None:
                    del queues[owner]
                elif len(batch) < MAX_BATCH:
                    batch.append(key)
        # The organization that was last in this batch is first in the next.
        self._turns.rotate(-MAX_BATCH if len(self._turns) > MAX_BATCH else -1)
        return batch

    def settle(self, key: RowKey, problem: Refused | None) -> None:
        """Let the checks that wait for a row go on, or be refused: each by an error of its own."""
        waiting = self._waiting[key.organization]
        futures = waiting.pop(key)
        if not waiting:
            del self._waiting[key.organization]
            self._turns.remove(key.organization)
        for future in futures:
            if future.done():
                continue
            if problem is None:
                future.set_result(None)
            else:
                future.set_exception(Refused(problem.reason, problem.detail))
