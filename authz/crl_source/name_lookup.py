"""The addresses of a host's name, as the system gives them."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future


async def system_resolve(host: str, port: int) -> list[str]:
    """The addresses that the system gives, each once. Raises `OSError`.

    In a thread of its own, which ends by itself: event loops have few for this (uvloop two), and whoever has a
    certificate of ours with names whose servers never answer would take them from everybody else.
    """
    found: Future[list[str]] = Future()
    threading.Thread(target=_look_up, args=[found, host, port], name="look-up of a name", daemon=True).start()
    return await asyncio.wrap_future(found)


def _look_up(found: Future[list[str]], host: str, port: int) -> None:
    # From here on it cannot be cancelled: whoever gives it up only does not wait.
    if not found.set_running_or_notify_cancel():
        return
    try:
        given = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        found.set_exception(error if isinstance(error, OSError) else OSError(str(error)))
    else:
        found.set_result(list(dict.fromkeys(str(address[0]) for *_, address in given)))
