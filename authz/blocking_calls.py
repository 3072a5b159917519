"""Work that may never come back: a system call on a network file system, or to a name server, that is away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from authz.errors import AuthzError

T = TypeVar("T")

_EXPECTED: Final = (OSError, ValueError, AuthzError)


def apart(action: Callable[[], T], name: str) -> asyncio.Future[T]:
    """What comes of `action` in a thread of its own, which ends by itself: nothing waits for it, not the process's end.

    Pools have few threads (uvloop two for names), and those that hang would take them from everybody else. To be
    called in the event loop. Raises `RuntimeError` where no thread can be started.
    """
    future: Future[T] = Future()
    threading.Thread(target=_run, args=[future, action], name=name, daemon=True).start()
    return asyncio.wrap_future(future)


def _run(future: Future[T], action: Callable[[], T]) -> None:
    # From here on it cannot be cancelled: whoever gives it up only does not wait.
    if not future.set_running_or_notify_cancel():
        return
    try:
        found = action()
    except _EXPECTED as error:
        future.set_exception(error)
    except BaseException as error:
        future.set_exception(error)
        raise
    else:
        future.set_result(found)
