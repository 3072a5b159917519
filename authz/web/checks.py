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
from aiohttp.http_exceptions import BadHttpMessage

from authz.decision import Decision
from authz.headers import read_client_request
from authz.model import CheckRequest
from authz.view import Listener
from authz.web.answer import answer_to
from authz.web.server import new_decision_id, response_of

Check = Callable[[CheckRequest, Listener], Awaitable[Decision]]
Refuse = Callable[[CheckRequest, Listener, str | BaseException | None], Decision]
"""See `authz.service.Service.refuse`."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The paths of a listener: the prefix and the fixed path of ext_authz, the path of auth_request."""

    prefix: str = "/v1/check"
    fixed: str = "/v1/verify"
    auth_request: str = "/v1/auth"


class Checks:
    """The handler of one listener."""

    def __init__(self, check: Check, listener: Listener, endpoints: Endpoints, *, refuse: Refuse) -> None:
        self._check = check
        self._refuse = refuse
        self._listener = listener
        self._endpoints = endpoints

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one check of a proxy."""
        decision_id = new_decision_id()
        headers = tuple([(name.lower(), value) for name, value in request.raw_headers])
        origin = self._origin(request, headers)
        names = self._listener.client_request
        if names is None or origin is None:
            hosts = [value for name, value in headers if name == b"host"]
            # Several hosts count as none: the core refuses the empty host.
            host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        else:
            host, origin = read_client_request(headers, names, origin)
        if origin is None:
            # A proxy with another prefix is refused in every case: its operator must find out why.
            check = CheckRequest(decision_id, host, headers, request.method, request.raw_path)
            why = "the path is no endpoint of the listener: compare the proxy's path with prefix and auth_request_path"
            return response_of(answer_to(self._refuse(check, self._listener, why), decision_id))
        decision = await self._check(CheckRequest(decision_id, host, headers, *origin), self._listener)
        return response_of(answer_to(decision, decision_id))

    def unread(self, error: BaseException | None) -> web.StreamResponse:
        """The answer to a request that could not be read, or on which this handler failed."""
        check = CheckRequest(new_decision_id(), "", ())
        why = error.message if isinstance(error, BadHttpMessage) else error
        return response_of(answer_to(self._refuse(check, self._listener, why), check.decision_id))

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
