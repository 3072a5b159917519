"""What takes long is done by one check in each iteration of the event loop, so that no tenant's flood holds others up.

A certificate that was verified before costs some 10 us, a new one sixteen times as much: a tenant that sends many new
ones at once, on as many connections, would have the answers to all others wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable


class Turns:
    """One turn in each iteration; tenants that wait have theirs one after the other (round robin)."""

    def __init__(self) -> None:
        self._taken = False
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def take(self) -> bool:
        """Whether this iteration's turn was free: it is the caller's then, who uses it at once."""
        if self._taken:
            return False
        asyncio.get_running_loop().call_soon(self._pass_on)
        self._taken = True
        return True

    async def wait(self, tenant: Hashable) -> None:
        """Take a turn as soon as there is one."""
        if self.take():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        await turn

    def _pass_on(self) -> None:
        """Give the next iteration's turn to the check that has waited longest, of the tenant that is next."""
        # First: whatever fails here, for lack of memory, the next who asks finds a turn, and others go on behind.
        self._taken = False
        while self._waiting:
            tenant = next(iter(self._waiting))
            turns = self._waiting.pop(tenant)
            turn = turns.popleft()
            if turns:
                self._waiting[tenant] = turns
            # A check that was cancelled needs none.
            if not turn.done():
                turn.set_result(None)
                self.take()
                return
