"""The checks of proxies: Envoy's ext_authz and nginx's auth_request, translated into a `CheckRequest` and back.

`<prefix>/any/path` and `<prefix>` with any method are ext_authz with `path_prefix`; the fixed path is
ext_authz with `path_override`; auth_request has a path of its own, and names the original request in
two headers. A listener may name headers that hold host, method and target instead. Paths are compared
undecoded, and no decision looks at them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from authz.decision import Decision
from authz.headers import read_client_request
from authz.model import CheckRequest
from authz.reasons import Reason
from authz.view import Listener
from authz.web.answer import answer_to, refusal
from authz.web.server import new_decision_id, response_of

Check = Callable[[CheckRequest, Listener], Awaitable[Decision]]
Rejected = Callable[[int, BaseException | None], None]
"""Called with a request that was not decided: the status that says why, and the error, if there was one."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The paths of a listener: the prefix and the fixed path of ext_authz, the path of auth_request."""

    prefix: str = "/v1/check"
    fixed: str = "/v1/verify"
    auth_request: str = "/v1/auth"


class Checks:
    """The handler of one listener."""

    def __init__(self, check: Check, listener: Listener, endpoints: Endpoints, *, rejected: Rejected) -> None:
        self._check = check
        self._rejected = rejected
        self._listener = listener
        self._endpoints = endpoints

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one check of a proxy."""
        decision_id = new_decision_id()
        headers = tuple([(name.lower(), value) for name, value in request.raw_headers])
        origin = self._origin(request, headers)
        if origin is None:
            # A proxy with another prefix is refused in every case, and logged: its operator must find out why.
            self._rejected(404, None)
            return response_of(refusal(Reason.REQUEST_MALFORMED, decision_id))
        names = self._listener.client_request
        if names is None:
            hosts = [value for name, value in headers if name == b"host"]
            # Several hosts count as none: the core refuses the empty host.
            host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        else:
            host, origin = read_client_request(headers, names, origin)
        decision = await self._check(CheckRequest(decision_id, host, headers, *origin), self._listener)
        return response_of(answer_to(decision, decision_id))

    def _origin(self, request: web.BaseRequest, headers: tuple[tuple[bytes, bytes], ...]) -> tuple[str, str] | None:
        """Method and target of the client's request, or None for any other path."""
        raw = request.raw_path
        path = raw.partition("?")[0]
        prefix = self._endpoints.prefix
        if path == prefix or path.startswith(prefix + "/"):
            return request.method, raw[len(prefix) :]
        if path == self._endpoints.fixed:
            return request.method, ""
        if path == self._endpoints.auth_request:
            return _text(headers, b"x-original-method"), _text(headers, b"x-original-uri")
        return None


def _text(headers: tuple[tuple[bytes, bytes], ...], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key == name), "")
