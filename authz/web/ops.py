"""The operators' pages: /healthz, /readyz and /metrics. GET and HEAD read them (RFC 9110 section 9.1); all else fails.

Bytes in, bytes out: `authz.web.ops_server` has the connections.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple

from aiohttp.http_exceptions import BadHttpMessage

from authz.web.request_reader import read_head

KEPT_SECONDS: Final = 1.0
"""How long a rendering of the metrics is shared: clients that ask more often get the same bytes."""

METHODS: Final = ("GET", "HEAD")

_LOCAL: Final = re.compile(rb"(localhost|[0-9.]+|\[[0-9a-f:.]+\])(:[0-9]*)?", re.IGNORECASE)
"""A host as clients of loopback write it. By a name that leads to loopback, a web page reads what its browser's machine
alone may (DNS rebinding), through `kubectl port-forward` for instance.
"""


class Page(NamedTuple):
    """What a page is at this moment."""

    status: int
    body: bytes
    media_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page]]
"""The pages of a listener, by path."""


def health_pages(ready: Callable[[], bool]) -> Pages:
    """The pages of orchestrators, which name no tenant.

    A service that answers is healthy; one whose directory is confirmed, and that is not stopping, is ready. No tenant
    can make it unready.
    """
    return {
        "/healthz": lambda: Page(200, b"ok\n"),
        "/readyz": lambda: Page(200, b"ready\n") if ready() else Page(503, b"not ready\n"),
    }


def operators_pages(ready: Callable[[], bool], metrics: Callable[[], bytes]) -> Pages:
    """Those, and the metrics in Prometheus' text format, which name organizations and sources of CRLs."""
    return {**health_pages(ready), "/metrics": lambda: Page(200, metrics(), "text/plain; version=0.0.4; charset=utf-8")}


class KeptRendering:
    """What `render` returned, for `KEPT_SECONDS`. It is called in one thread, so that one rendering runs at a time."""

    def __init__(self, render: Callable[[], bytes], monotonic: Callable[[], float]) -> None:
        self._render = render
        self._monotonic = monotonic
        self._kept: tuple[float, bytes] | None = None

    def __call__(self) -> bytes:
        """The rendering. Raises what `render` raises."""
        now = self._monotonic()
        if self._kept is None or now - self._kept[0] >= KEPT_SECONDS:
            self._kept = now, self._render()
        return self._kept[1]


def respond(pages: Pages, head: bytes, *, local: bool = False) -> bytes:
    """The response to one request, given its head; the connection ends with it, so that no body is ever read.

    400 for what is no request, 404 for any other path, 405 for any other method (RFC 9110 section 15.5.6); at a `local`
    listener 421 for a host that is neither an address nor localhost (section 15.5.20).
    """
    try:
        request = read_head(head)
    except BadHttpMessage:
        return refusal(HTTPStatus.BAD_REQUEST)
    hosts = [value for name, value in request.raw_headers if name.lower() == b"host"]
    # RFC 9112 section 3.2: exactly one, and HTTP/1.0 may have none.
    if len(hosts) > 1 or (not hosts and head.partition(b"\r\n")[0].endswith(b"HTTP/1.1")):
        return refusal(HTTPStatus.BAD_REQUEST)
    if local and not all(map(_LOCAL.fullmatch, hosts)):
        return refusal(HTTPStatus.MISDIRECTED_REQUEST)
    page = pages.get(request.path.partition("?")[0])
    if page is None:
        return refusal(HTTPStatus.NOT_FOUND)
    if request.method not in METHODS:
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"Allow: {', '.join(METHODS)}")
    response = _response(page())
    return response if request.method == "GET" else response[: response.index(b"\r\n\r\n") + 4]


def refusal(status: HTTPStatus, *fields: str) -> bytes:
    """A response that says nothing but its status; `fields` are more header fields."""
    return _response(Page(status, f"{status.phrase}\n".encode()), *fields)


def _response(page: Page, *fields: str) -> bytes:
    lines = (
        f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}",
        # RFC 9110 section 6.6.1.
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {page.media_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *fields,
    )
    return "\r\n".join((*lines, "", "")).encode("ascii") + page.body
