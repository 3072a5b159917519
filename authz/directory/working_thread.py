"""A thread that makes blocking calls for an event loop, one after the other, at half of what an executor takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class WorkingThread:
    """Begins with the first call, so that its owner may be made before a fork. The process can exit while one hangs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], object]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def call(self, action: Callable[[], T]) -> asyncio.Future[T]:
        """The result of `action`, which is made after all earlier ones, also if nothing waits for it any more.

        Call this in the event loop. Raises `RuntimeError` after `close`, and where no thread can be begun.
        """
        if self._closed:
            raise RuntimeError(f"the thread {self._name} was closed")
        if self._thread is None:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            thread.start()
            self._thread = thread
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((future, action))
        return future

    def close(self) -> None:
        """Wait until all calls were made; there is no other after that."""
        self._closed = True
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            _make(*call)
            # What was read is not kept until the next one.
            del call


def _make(future: asyncio.Future[Any], action: Callable[[], object]) -> None:
    outcome: tuple[object, BaseException | None]
    try:
        outcome = action(), None
    except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
        outcome = None, error
    # The loop may have ended meanwhile.
    with suppress(RuntimeError):
        future.get_loop().call_soon_threadsafe(_settle, future, *outcome)


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
