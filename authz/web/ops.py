"""The pages of operators and orchestrators, on a listener of their own: /healthz, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage


class Ops:
    """The handler of the operators' listener.

    A service that answers is healthy; one whose directory is confirmed, and that is not stopping, is ready. No tenant
    can make it unready.
    """

    def __init__(self, metrics: Callable[[], bytes], ready: Callable[[], bool], warn: Callable[[str], None]) -> None:
        self._metrics = metrics
        self._ready = ready
        self._warn = warn

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.raw_path.partition("?")[0]
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, text="read only\n")
        if path == "/healthz":
            return web.Response(text="ok\n")
        if path == "/readyz":
            ready = self._ready()
            return web.Response(status=200 if ready else 503, text="ready\n" if ready else "not ready\n")
        if path == "/metrics":
            return web.Response(
                body=self._metrics(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"}
            )
        return web.Response(status=404, text="/healthz, /readyz or /metrics\n")

    def unread(self, error: BaseException | None) -> web.StreamResponse:
        """The answer to a request that could not be read, or on which this handler failed."""
        self._warn(f"the operators' listener could not answer a request: {type(error).__name__}")
        return web.Response(status=400 if isinstance(error, BadHttpMessage) else 500)
