"""The HTTP server of the checks: aiohttp's low-level one, with a reader and error pages of our own.

A request that is plain is answered as soon as it is read, without a task, a request and a response of aiohttp's. Both
ways send the same bytes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from authz.web.answer import Answer
from authz.web.request_reader import RequestReader

OPTIONS: Final = {
    "access_log": None,
    # A body that does not come delays the end of its connection no longer.
    "lingering_time": 1.0,
    # Longer than Envoy keeps an idle connection, so that this server never closes one under a request.
    "keepalive_timeout": 3630.0,
}

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Unread = Callable[[BaseException | None], web.StreamResponse]
"""Answers a request that could not be read (`BadHttpMessage`), or whose handler failed."""
AtOnce = Callable[[RawRequestMessage], bytes | None]
"""The whole answer to a request without a body, without waiting for anything; None if `Handler` must give it."""

Allowed = Callable[[asyncio.Transport], bool]
"""Whether the proxy at the other end may still ask; where it may not, `Handler` says so."""


class _HandlerFailed(HttpProcessingError):
    """`AtOnce` raised the cause of this: aiohttp answers as it does where a handler raises."""


class _Protocol(RequestHandler):
    """One connection of a proxy."""

    unread: Unread
    at_once: AtOnce | None = None
    allowed: Allowed | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there; of mutual TLS, once the handshake is complete.

        It is read from now on, and a reader leads back to here until the connection is lost: where a handshake fails,
        which anybody can cause, neither happens, and the cycle would stay.
        """
        self._parser = RequestReader(self, self._loop, self.answered)  # type: ignore[assignment] # no public way
        super().connection_made(transport)

    def answered(self, request: RawRequestMessage) -> bool:
        """Answer a request that was read whole, if nothing is in its way; else aiohttp answers, with a task of its own.

        While aiohttp waits (`_waiter`) it has no request, queued or in progress. What is not plain HTTP/1.1, answered
        like any other on a connection that is kept, is its own. Raises `_HandlerFailed`.
        """
        waiter, transport = self._waiter, self.transport
        if (
            self.at_once is None
            or waiter is None
            or waiter.done()
            or transport is None
            or transport.is_closing()
            or self._paused
            or request.should_close
            or request.upgrade
            or request.version != HttpVersion11
            or request.method in _NOT_PLAIN
            or hdrs.EXPECT in request.headers
            or (self.allowed is not None and not self.allowed(transport))
        ):
            return False
        try:
            answer = self.at_once(request)
        except Exception as error:
            raise _HandlerFailed from error
        if answer is None:
            return False
        transport.write(answer)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        return True

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - no part of it is repeated
        status: int = 500,  # noqa: ARG002 - `exc` says more
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it is that of `exc`
    ) -> web.StreamResponse:
        """The answer to a request that cannot be read, or on which the handler failed."""
        response = self.unread(exc.__cause__ if isinstance(exc, _HandlerFailed) else exc)
        response.force_close()
        return response

    def log_exception(self, *_args: Any, **_kw: Any) -> None:
        """Log nothing: `unread` has logged what may be logged."""


_NOT_PLAIN: Final = frozenset({"HEAD", "CONNECT"})
"""Methods whose answers have no body, or none that this server may send."""


class Server(web.Server):
    """A server for one handler; `at_once` is asked first, if it is given, where `allowed` holds.

    An option that aiohttp does not know is an error, not a silent default.
    """

    def __init__(
        self, handler: Handler, unread: Unread, at_once: AtOnce | None = None, allowed: Allowed | None = None
    ) -> None:
        super().__init__(handler)
        self._unread = unread
        self._at_once = at_once
        self._allowed = allowed

    def __call__(self) -> RequestHandler:
        """The protocol of one new connection."""
        protocol = _Protocol(self, loop=self._loop, logger=_SILENT, **OPTIONS)  # type: ignore[arg-type]
        protocol.unread, protocol.at_once, protocol.allowed = self._unread, self._at_once, self._allowed
        protocol._parser = None  # noqa: SLF001 - no public way
        return protocol


IDS_AT_ONCE: Final = 64
"""Decision ids made at once, each of which would take a system call."""

_SILENT = logging.getLogger("authz.web.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


def response_of(answer: Answer) -> web.Response:
    """The answer as aiohttp sends it."""
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body or None)


_PHRASES: Final = {status: HTTPStatus(status).phrase for status in (200, 401, 403, 503)}


def encoded(status: int, lines: str, body: bytes = b"") -> bytes:
    """An answer as aiohttp would send it: `lines` are its own headers, see `authz.web.answer.header_lines`."""
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\n{lines}Content-Length: {len(body)}\r\n"
        f"Date: {rfc822_formatted_time()}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"
    )
    return head.encode("ascii") + body


_ids: Final[list[str]] = []
# No two processes may use the same.
os.register_at_fork(after_in_child=_ids.clear)


def new_decision_id() -> str:
    """32 hexadecimal digits that cannot be guessed; the system is asked for many at once."""
    if not _ids:
        digits = os.urandom(16 * IDS_AT_ONCE).hex()
        _ids.extend(digits[at : at + 32] for at in range(0, len(digits), 32))
    return _ids.pop()
