"""Work that may never come back: a system call on a network file system whose server is away waits for hours."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def apart(action: Callable[[], T], name: str) -> asyncio.Future[T]:
    """What comes of `action` in a thread of its own, which nothing waits for: neither a pool nor the process's end.

    To be called in the event loop. Raises `RuntimeError` where no thread can be started.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[], None]) -> None:
        if not future.done():  # else nobody waits any more
            set_it()

    def run() -> None:
        try:
            found = action()
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            failure = error
            told = lambda: future.set_exception(failure)  # noqa: E731
        else:
            told = lambda: future.set_result(found)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, told)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
