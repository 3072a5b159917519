"""The connections of the operators' listeners: few, short, one request each, so that none can keep another out.

The process that answers them also keeps the CRLs of all tenants: what strangers may cost it is bounded here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final

from authz.web.ops import Pages, refusal, respond
from authz.web.tls import ReloadingContext

MAX_CONNECTIONS: Final = 16
"""Of one listener: Prometheus has one at a time, and a pod's three probes have three."""

CONNECTION_SECONDS: Final = 10.0
"""How long a connection lives, handshake and response included: Prometheus' own default for a scrape."""

MAX_HEAD_BYTES: Final = 8 * 1024
"""Of a request: Prometheus sends some 300."""

PAUSE_SECONDS: Final = 0.01
"""Between connections where other machines may connect: a handshake takes 1 ms of the CRL manager's time."""

RETRY_SECONDS: Final = 1.0
"""After a connection that could not be accepted, for lack of descriptors, say."""

CLOSE_SECONDS: Final = 1.0
"""For the requests on connections that were accepted before the server closes: a scrape during a reload is answered."""

_FAILED: Final = "the operators' listener could not answer a request"


class OpsServer:
    """Answers `pages` on one listening socket. Made inside the event loop; `warn` reports what failed.

    When there are `MAX_CONNECTIONS`, the next one takes the place of the oldest: a client that holds them all keeps no
    other from being answered, because a request is answered as soon as it is read.
    """

    def __init__(
        self, pages: Pages, warn: Callable[[str], None], *, tls: ReloadingContext | None = None, pause: float = 0.0
    ) -> None:
        self._pages = pages
        self._warn = warn
        self._tls = tls
        self._pause = pause
        self._connections: dict[asyncio.Task[None], None] = {}
        self._loop = asyncio.get_running_loop()
        self._listening: socket.socket | None = None
        self._local = False

    def start(self, opened: socket.socket) -> None:
        """Begin to answer on a listening socket, which stays its owner's."""
        self._local = self._tls is None and _on_loopback(opened)
        self._listening = opened.dup()
        self._watch()

    async def close(self) -> None:
        """Stop accepting, answer what was accepted, and end what has asked for nothing by then."""
        if self._listening is not None:
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        if self._connections:
            await asyncio.wait(self._connections, timeout=CLOSE_SECONDS)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _watch(self) -> None:
        if self._listening is not None:
            self._loop.add_reader(self._listening, self._accept, self._listening)

    def _accept(self, listening: socket.socket) -> None:
        pause = self._pause
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            # Its client has left, or another process has accepted it.
            return
        except OSError as error:
            self._warn(f"the operators' listener cannot accept a connection: {error}")
            pause = RETRY_SECONDS
        else:
            connection.setblocking(False)
            self._admit(connection)
        if pause:
            self._loop.remove_reader(listening)
            self._loop.call_later(pause, self._watch)

    def _admit(self, connection: socket.socket) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            oldest = next(iter(self._connections))
            del self._connections[oldest]
            oldest.cancel()
        task = asyncio.create_task(self._serve(connection), name="operators' connection")
        self._connections[task] = None
        task.add_done_callback(partial(self._ended, connection))

    def _ended(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._connections.pop(task, None)
        # Where the task was cancelled before it began, no transport has closed it.
        connection.close()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._warn(f"{_FAILED}: {type(error).__name__}")

    async def _serve(self, connection: socket.socket) -> None:
        # A client that leaves, or a handshake that fails (which `ReloadingContext` reports), is no failure.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(CONNECTION_SECONDS):
                reader, writer = await self._open(connection)
                try:
                    await self._answer(reader, writer)
                finally:
                    writer.transport.abort()

    async def _open(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader = asyncio.StreamReader(MAX_HEAD_BYTES, self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            # RFC 6585 section 5.
            writer.write(refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        else:
            if self._tls is not None and not self._tls.admits(writer.get_extra_info("ssl_object")):
                return
            writer.write(self._response(head.removesuffix(b"\r\n\r\n")))
        writer.close()
        await writer.wait_closed()

    def _response(self, head: bytes) -> bytes:
        try:
            return respond(self._pages, head, local=self._local)
        except (OSError, ValueError) as error:
            self._warn(f"{_FAILED}: {type(error).__name__}")
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


def _on_loopback(opened: socket.socket) -> bool:
    return opened.family != socket.AF_UNIX and ipaddress.ip_address(opened.getsockname()[0]).is_loopback
