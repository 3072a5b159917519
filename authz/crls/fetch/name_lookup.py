"""The addresses of a host's name, as the system gives them."""

from __future__ import annotations

import socket

from authz.blocking_calls import run_in_daemon_thread


async def system_resolve(host: str, port: int) -> list[str]:
    """The addresses that the system gives, each once. Raises `OSError`.

    Apart, for whoever has a certificate of ours can have names in it whose servers never answer.
    """
    try:
        given = await run_in_daemon_thread(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), "look-up of a name"
        )
    except UnicodeError as error:
        raise OSError(str(error)) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in given))
