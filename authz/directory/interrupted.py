"""Waits for a thread that waits for a server, and not for longer than a time: no timeout of the loop ends its wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

WRITE_SECONDS: Final = 10.0
"""How long one write of what the service reports may wait for a server; SQLite's writers wait 5 s for each other."""

CLOSE_SECONDS: Final = 1.0
"""The same when the process ends: what cannot be written then is lost, and counted."""


async def interrupted_after(seconds: float, interrupt: Callable[[], None], result: Awaitable[T]) -> T:
    """The result, for which `interrupt` is called if it takes longer: then it comes, or raises, soon."""
    with interrupted_every(seconds, interrupt):
        return await result


class interrupted_every:  # noqa: N801 - used like a function, as `contextlib.suppress` is
    """Call `interrupt` again and again while the block waits: for a connection that was made anew and hangs, too."""

    def __init__(self, seconds: float, interrupt: Callable[[], None]) -> None:
        self._seconds = seconds
        self._interrupt = interrupt
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(self._seconds, self._again)

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()

    def _again(self) -> None:
        self._interrupt()
        self._timer = self._loop.call_later(self._seconds, self._again)
