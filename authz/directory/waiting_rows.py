"""Rows that checks wait for, read in turns by organization, so that a flood for one hardly delays another's."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from authz.directory.keys import RowKey, owner_of
from authz.errors import Refused
from authz.reasons import Reason

MAX_BATCH: Final = 32
"""Rows read in one transaction: about 5 ms, which is as long as a row of another organization waits."""

MAX_WAITING_EACH: Final = 512
"""Rows of one organization, or hosts, that may wait to be read: half the checks that may wait in all."""

Batch = dict[RowKey, "asyncio.Future[None]"]


class WaitingRows:
    """Each row once, however many checks wait for it."""

    def __init__(self) -> None:
        self._waiting: dict[int, Batch] = {}
        self._turns: deque[int] = deque()
        self._asked = asyncio.Event()

    async def wait_for(self, key: RowKey) -> None:
        """Returns when the row was read. Raises `Refused` when it could not be, or too many rows wait."""
        owner = owner_of(key)
        waiting = self._waiting.setdefault(owner, {})
        if key not in waiting:
            if len(waiting) >= MAX_WAITING_EACH:
                raise Refused(Reason.OVERLOADED, f"{len(waiting)} rows of one organization wait to be read")
            waiting[key] = asyncio.get_running_loop().create_future()
            if len(waiting) == 1:
                self._turns.append(owner)
            self._asked.set()
        # A check that gives up must not take the others' reading with it.
        await asyncio.shield(waiting[key])

    async def asked(self) -> None:
        """Returns when rows may wait that did not before."""
        await self._asked.wait()
        self._asked.clear()

    def next_batch(self) -> Batch:
        """One row of each organization in turn; they stay where others can join them until they are read."""
        batch: Batch = {}
        queues = {owner: iter(self._waiting[owner].items()) for owner in self._turns}
        while queues and len(batch) < MAX_BATCH:
            for owner in list(queues):
                key, future = next(queues[owner], (None, None))
                if key is None or future is None:
                    del queues[owner]
                elif len(batch) < MAX_BATCH:
                    batch[key] = future
        # The organization that was last in this batch is first in the next.
        self._turns.rotate(-MAX_BATCH if len(self._turns) > MAX_BATCH else -1)
        return batch

    def settle(self, key: RowKey, future: asyncio.Future[None], problem: Refused | None) -> None:
        """Let the checks that wait for a row go on, or be refused."""
        owner = owner_of(key)
        del self._waiting[owner][key]
        if not self._waiting[owner]:
            del self._waiting[owner]
            self._turns.remove(owner)
        if future.done():
            return
        if problem is None:
            future.set_result(None)
        else:
            future.set_exception(Refused(problem.reason, problem.detail))
