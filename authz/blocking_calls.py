"""Runs a blocking call that may never return (a hung network file system, a silent name server) in a daemon thread."""

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
    """The result of `action`, run in a thread of its own that nothing joins, not even the end of the process.

    Pools have few threads (uvloop two for names), and calls that hang would take them from all others. To be called
    in the event loop. Raises `RuntimeError` where no thread can be started.
    """
    future: Future[T] = Future()
    threading.Thread(target=_run, args=[future, action], name=name, daemon=True).start()
    return asyncio.wrap_future(future)


def _run(future: Future[T], action: Callable[[], T]) -> None:
    # From here on it cannot be cancelled: a caller that gives it up only stops waiting.
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
