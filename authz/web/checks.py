"""The checks of proxies: Envoy's ext_authz and nginx's auth_request, translated into a `CheckRequest` and back.

`<prefix>/any/path` and `<prefix>` with any method are ext_authz with `path_prefix`; the fixed path is
ext_authz with `path_override`; auth_request has a path of its own, and names the original request in
two headers. A listener may name headers that hold host, method and target instead. Paths are compared
undecoded, and no decision looks at them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage

from authz.decision import Allow, Decision
from authz.headers import read_client_request
from authz.model import CheckRequest
from authz.pki.cache import SharedCache
from authz.row_parts import RowParts
from authz.view import Listener
from authz.web.answer import answer_to, header_lines, lines_of_check, lines_of_rows, refusal
from authz.web.server import encoded, new_decision_id, response_of

Headers = tuple[tuple[bytes, bytes], ...]
Check = Callable[[CheckRequest, Listener], Awaitable[Decision]]
CheckAtOnce = Callable[[CheckRequest, Listener], Decision | None]
Refuse = Callable[[CheckRequest, Listener, str | BaseException | None], Decision]
"""See `authz.service.Service.refuse`."""

_NO_ENDPOINT: Final = (
    "the path is no endpoint of the listener: compare the proxy's path with prefix and auth_request_path"
)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The paths of a listener: the prefix and the fixed path of ext_authz, the path of auth_request."""

    prefix: str = "/v1/check"
    fixed: str = "/v1/verify"
    auth_request: str = "/v1/auth"


class Checks:
    """The handler of one listener.

    `check_at_once` decides without waiting, or returns None: see `authz.service.Service.check_at_once`. `memory` holds
    the headers that are the same in all answers about the same rows.
    """

    def __init__(
        self,
        check: Check,
        listener: Listener,
        endpoints: Endpoints,
        *,
        refuse: Refuse,
        check_at_once: CheckAtOnce = lambda _check, _listener: None,
        memory: SharedCache | None = None,
    ) -> None:
        self._check = check
        self._check_at_once = check_at_once
        self._refuse = refuse
        self._listener = listener
        self._endpoints = endpoints
        self._lines_of_rows = RowParts(SharedCache() if memory is None else memory, lines_of_rows)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one check of a proxy."""
        check, problem = self._read(request.method, request.raw_path, request.raw_headers)
        if problem:
            decision = self._refuse(check, self._listener, problem)
        else:
            decision = await self._check(check, self._listener)
        return response_of(answer_to(decision, check.decision_id))

    def at_once(self, request: RawRequestMessage) -> bytes | None:
        """The answer to a check that need not wait, else None: `authz.web.server.AtOnce`."""
        check, problem = self._read(request.method, request.path, request.raw_headers)
        if problem:
            decision: Decision | None = self._refuse(check, self._listener, problem)
        else:
            decision = self._check_at_once(check, self._listener)
        if decision is None:
            return None
        if isinstance(decision, Allow):
            return encoded(200, self._lines_of_rows.of(decision) + lines_of_check(decision, check.decision_id))
        status, headers, body = refusal(decision.reason, check.decision_id)
        return encoded(status, header_lines(headers.items()), body)

    def _read(self, method: str, raw_path: str, raw_headers: Headers) -> tuple[CheckRequest, str]:
        """What is asked, and why it cannot be decided, empty if it can."""
        decision_id = new_decision_id()
        headers = tuple([(name.lower(), value) for name, value in raw_headers])
        origin = self._origin(method, raw_path, headers)
        names = self._listener.client_request
        if names is None or origin is None:
            hosts = [value for name, value in headers if name == b"host"]
            # Several hosts count as none: the core refuses the empty host.
            host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        else:
            host, origin = read_client_request(headers, names, origin)
        if origin is None:
            # A proxy with another prefix is refused in every case: its operator must find out why.
            return CheckRequest(decision_id, host, headers, method, raw_path), _NO_ENDPOINT
        return CheckRequest(decision_id, host, headers, *origin), ""

    def unread(self, error: BaseException | None) -> web.StreamResponse:
        """The answer to a request that could not be read, or on which this handler failed."""
        check = CheckRequest(new_decision_id(), "", ())
        why = error.message if isinstance(error, BadHttpMessage) else error
        return response_of(answer_to(self._refuse(check, self._listener, why), check.decision_id))

    def _origin(self, method: str, raw: str, headers: Headers) -> tuple[str, str] | None:
        """Method and target of the client's request, or None for any other path."""
        path = raw.partition("?")[0]
        prefix = self._endpoints.prefix
        if path == prefix or path.startswith(prefix + "/"):
            return method, raw[len(prefix) :]
        if path == self._endpoints.fixed:
            return method, ""
        if path == self._endpoints.auth_request:
            return _text(headers, b"x-original-method"), _text(headers, b"x-original-uri")
        return None


def _text(headers: Headers, name: bytes) -> str:
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return ""
