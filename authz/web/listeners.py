"""The servers of one process, on sockets that are open already: started one by one, stopped together."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, Final

from authz.web.server import AtOnce, Handler, Server, Unread
from authz.web.tls import HANDSHAKE_SECONDS, ReloadingContext

_KEEP_THE_FILE: Final[dict[str, Any]] = {} if sys.version_info < (3, 13) else {"cleanup_socket": False}
"""From Python 3.13 on, event loops remove the file of a Unix socket that they close: others still listen there."""


class Listeners:
    """Made inside the event loop."""

    def __init__(self) -> None:
        self._servers: list[tuple[asyncio.Server, Server]] = []

    async def serve(
        self,
        opened: socket.socket,
        handler: Handler,
        unread: Unread,
        *,
        backlog: int,
        tls: ReloadingContext | None = None,
        at_once: AtOnce | None = None,
    ) -> asyncio.Server:
        """Answer on a listening socket, which several processes may share."""
        loop = asyncio.get_running_loop()
        if tls is None:
            server = Server(handler, unread, at_once)
        else:
            server = Server(tls.guarded(handler), unread, at_once, tls.allows)
        # The loop closes this descriptor; the socket's owner keeps its own.
        duplicate = opened.dup()
        # Event loops listen once more, and would make the backlog 100.
        if duplicate.family == socket.AF_UNIX:
            listening = await loop.create_unix_server(server, sock=duplicate, backlog=backlog, **_KEEP_THE_FILE)
        else:
            timeout = None if tls is None else HANDSHAKE_SECONDS
            listening = await loop.create_server(
                server, sock=duplicate, backlog=backlog, ssl=tls, ssl_handshake_timeout=timeout
            )
        self._servers.append((listening, server))
        return listening

    async def close(self, seconds: float) -> None:
        """Stop accepting, and let what is in flight finish within `seconds`."""
        for listening, server in self._servers:
            listening.close()
            server.pre_shutdown()
        for _, server in self._servers:
            await server.shutdown(seconds)
