"""The HTTP server of the checks: aiohttp's low-level one, with a reader and error pages of our own."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
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


class _Protocol(RequestHandler):
    """One connection of a proxy."""

    unread: Unread

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - no part of it is repeated
        status: int = 500,  # noqa: ARG002 - `exc` says more
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it is that of `exc`
    ) -> web.StreamResponse:
        """The answer to a request that cannot be read, or on which the handler failed."""
        response = self.unread(exc)
        response.force_close()
        return response

    def log_exception(self, *_args: Any, **_kw: Any) -> None:
        """Log nothing: `unread` has logged what may be logged."""


class Server(web.Server):
    """A server for one handler. An option that aiohttp does not know is an error, not a silent default."""

    def __init__(self, handler: Handler, unread: Unread) -> None:
        super().__init__(handler)
        self._unread = unread

    def __call__(self) -> RequestHandler:
        """The protocol of one new connection."""
        protocol = _Protocol(self, loop=self._loop, logger=_SILENT, **OPTIONS)  # type: ignore[arg-type]
        protocol._parser = RequestReader(protocol, self._loop)  # type: ignore[assignment]  # noqa: SLF001 - no public way
        protocol.unread = self._unread
        return protocol


_SILENT = logging.getLogger("authz.web.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


def response_of(answer: Answer) -> web.Response:
    """The answer as aiohttp sends it."""
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body or None)


def new_decision_id() -> str:
    """32 hexadecimal digits that cannot be guessed."""
    return os.urandom(16).hex()
