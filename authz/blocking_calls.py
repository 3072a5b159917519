"""Blocking calls that may never return: a read from a network file system, or a query of a name server, that hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from authz.errors import AuthzError

T = TypeVar("T")

_EXPECTED: Final = (OSError, ValueError, AuthzError)


def run_in_daemon_thread(action: Callable[[], T], name: str) -> asyncio.Future[T]:
    """The result of `action`, which runs in a daemon thread of its own: the process can exit while it hangs.

    A pool has few threads (uvloop's has two for names), and calls that hang would leave none to the others. Call this
    in the event loop. Raises `RuntimeError` where no thread can be started.
    """
    future: Future[T] = Future()
    threading.Thread(target=_run, args=[future, action], name=name, daemon=True).start()
    return asyncio.wrap_future(future)


def _run(future: Future[T], action: Callable[[], T]) -> None:
    # From here on it cannot be cancelled: a caller that gives up merely stops waiting.
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = action()
    except _EXPECTED as error:
        future.set_exception(error)
    except BaseException as error:
        future.set_exception(error)
        raise
    else:
        future.set_result(result)
