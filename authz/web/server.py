"""The HTTP server of the checks: aiohttp's low-level one, its limits above ours, its own error pages never shown.

aiohttp's message about a request that it cannot read quotes the request; here such a request is refused with a
reason and counted, and no part of it is repeated.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from authz.reasons import Reason
from authz.telemetry import Telemetry
from authz.web.answer import Answer, refusal

MAX_FIELD_BYTES: Final = 256 * 1024
"""Longest header field: above our own limit and above what Envoy was seen to send (145,601), so that we refuse it."""

MAX_HEADERS: Final = 256
"""Most header fields: above Envoy's default of 100 from a client, and what it adds."""

OPTIONS: Final = {
    "max_field_size": MAX_FIELD_BYTES,
    "max_line_size": MAX_FIELD_BYTES,
    "max_headers": MAX_HEADERS,
    "access_log": None,
    # Longer than Envoy keeps an idle connection, so that this server never closes one under a request.
    "keepalive_timeout": 3630.0,
}

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Protocol(RequestHandler):
    """One connection of a proxy."""

    telemetry: Telemetry

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - no part of it is repeated
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """The answer to a request that cannot be read (4xx), or on which the adapter itself failed (5xx)."""
        self.telemetry.rejected(status, exc)
        reason = Reason.INTERNAL_ERROR if status >= 500 else Reason.REQUEST_MALFORMED
        response = response_of(refusal(reason, new_decision_id()))
        response.force_close()
        return response

    def log_exception(self, *_args: Any, **_kw: Any) -> None:
        """Log nothing: `handle_error` has logged what may be logged."""


class Server(web.Server):
    """A server for one handler. An option that aiohttp does not know is an error, not a silent default."""

    def __init__(self, handler: Handler, telemetry: Telemetry) -> None:
        super().__init__(handler)
        self._telemetry = telemetry

    def __call__(self) -> RequestHandler:
        """The protocol of one new connection."""
        protocol = _Protocol(self, loop=self._loop, logger=_SILENT, **OPTIONS)  # type: ignore[arg-type]
        protocol.telemetry = self._telemetry
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
