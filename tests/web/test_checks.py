"""The service on the wire: a real server on a Unix socket, a real HTTP client, answers as proxies act on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from support.decision_world import ALICE, CA, Says, decide, request, standard_view
from support.metrics_text import metrics_of
from support.raw_requests import BODIES, PATHS, UNREADABLE
from support.registered import METHODS

from authz.decision import Allow, Decision, Evidence
from authz.headers import present
from authz.model import CheckRequest, ClientRequestHeaders, Enforcement, User
from authz.service import Service
from authz.telemetry import Telemetry
from authz.view import Listener
from authz.web.answer import IDENTITY_HEADERS
from authz.web.checks import Checks, Endpoints
from authz.web.request_reader import MAX_FIELD_BYTES
from authz.web.server import Server


class Wire:
    """A server whose decisions the test chooses, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "s.sock")
        self.output = BytesIO()
        self.telemetry = Telemetry(self.output)
        self.asked: list[CheckRequest] = []
        self.decision: Decision | None = None
        self.error: BaseException | None = None

    async def check(self, check: CheckRequest, listener: Listener) -> Decision:
        """Decide by the standard view, unless the test chose."""
        return self.check_at_once(check, listener)

    def check_at_once(self, check: CheckRequest, listener: Listener) -> Decision:
        """The same without waiting."""
        self.asked.append(check)
        if self.error is not None:
            raise self.error
        return self.decision or decide(check, view=standard_view())

    def refuse(self, check: CheckRequest, listener: Listener, why: str | BaseException | None) -> Decision:
        """See `Service.refuse`."""
        return Service(self, self, self.telemetry).refuse(check, listener, why)  # type: ignore[arg-type]

    async def ask(
        self, path: str = "/v1/check/", method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer."""
        headers.setdefault("host", "acme.example.test")
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        url = aiohttp.client.URL(f"http://x{path}", encoded=True)
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.path)) as client,
            client.request(method, url, headers=sent) as answer,
        ):
            return answer.status, {key.lower(): value for key, value in answer.headers.items()}, await answer.read()

    async def raw(self, octets: bytes, until: bytes = b"") -> bytes:
        """What comes back for octets that need not be HTTP, up to `until`, or the end of the connection."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(octets)
        await writer.drain()
        answer = await (reader.readuntil(until) if until else reader.read())
        writer.close()
        return answer

    @property
    def log(self) -> list[dict[str, object]]:
        """The lines logged."""
        return [json.loads(line) for line in self.output.getvalue().splitlines()]


@pytest.fixture(params=["at once", "by aiohttp"])
async def wire(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    """A running server, which answers plain requests at once, or leaves all of them to aiohttp."""
    made = Wire(tmp_path)
    listener = Listener("envoy", (Says("alice"),))
    checks = Checks(made.check, listener, Endpoints(), refuse=made.refuse, check_at_once=made.check_at_once)
    server = Server(checks, checks.unread, checks.at_once if request.param == "at once" else None)
    listening = await asyncio.get_running_loop().create_unix_server(server, made.path)
    yield made
    listening.close()
    await server.shutdown(1)


HEADER = present(ALICE.der, [CA.der]).decode("ascii")


async def test_allowed_check_is_200_with_every_identity_header(wire: Wire) -> None:
    """All five, always."""
    status, headers, body = await wire.ask(x_forwarded_client_cert=HEADER)
    assert (status, body) == (200, b"")
    assert [headers[name] for name in IDENTITY_HEADERS[:4]] == ["acme", "alice", ALICE.sha256.hex(), "bound"]
    assert headers["x-authz-decision-id"] == wire.asked[0].decision_id
    assert headers["x-authz-completed-by"] == "presented"


async def test_identity_headers_are_there_when_there_is_nothing_to_say(wire: Wire) -> None:
    """Empty, so that a client's own copy is replaced."""
    wire.decision = decide(request(), "olga")
    _, headers, _ = await wire.ask()
    assert (headers["x-authz-certificate"], headers["x-authz-binding"]) == ("", "")


async def test_denied_check_is_a_problem_with_the_public_code(wire: Wire) -> None:
    """The client does not learn the reason."""
    status, headers, body = await wire.ask()
    problem = json.loads(body)
    assert (status, problem["status"], problem["code"]) == (403, 403, "MUTUAL_AUTHENTICATION_FAILED")
    assert headers["content-type"] == "application/problem+json"
    assert problem["decision_id"] == wire.asked[0].decision_id
    assert b"certificate_required" not in body


@pytest.mark.parametrize(("path", "target"), PATHS)
async def test_path_behind_the_prefix_is_taken_verbatim(wire: Wire, path: str, target: str) -> None:
    """Never decoded, never normalized."""
    await wire.ask(path, method="POST" if path != "/v1/auth" else "GET")
    assert wire.asked[0].target == target


@pytest.mark.parametrize("path", ["/", "/v1/checkx", "/v1/verify/x", "/v2/check/", "/healthz", "/%761/check/"])
async def test_path_that_is_no_endpoint_is_refused(wire: Wire, path: str) -> None:
    """Nothing is decided there, and nothing allowed; a proxy with another prefix is found by the log."""
    status, headers, _ = await wire.ask(path)
    assert (status, wire.asked) == (403, [])
    assert [(line["listener"], line["reason"], line["decision_id"]) for line in wire.log] == [
        ("envoy", "request_malformed", headers["x-authz-decision-id"])
    ]
    assert "prefix" in str(wire.log[0]["detail"])
    assert b"authz_requests_rejected_total 1.0" in metrics_of(wire.telemetry)


@pytest.mark.parametrize("method", [*METHODS, "CCM_POST", "RPC_IN_DATA", "get", "head", "Connect", "!", "M" * 5000])
async def test_every_method_is_checked(wire: Wire, method: str) -> None:
    """The method decides nothing, whatever the HTTP library knows (RFC 9110 section 9.1: case counts)."""
    answer = await wire.raw(f"{method} /v1/check/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    assert wire.asked[0].method == method
    assert answer.split(b" ", 2)[1] == b"403"
    assert (b"MUTUAL_AUTHENTICATION_FAILED" in answer) == (method != "HEAD")


@pytest.mark.parametrize("fields", BODIES)
@pytest.mark.parametrize("method", ["POST", "CCM_POST"])
async def test_body_and_its_headers_decide_nothing(wire: Wire, method: str, fields: str) -> None:
    """Whether it can be decoded, comes, or is announced in an odd way."""
    head = f"{method} /v1/check/ HTTP/1.1\r\nhost: acme.example.test\r\nx-forwarded-client-cert: {HEADER}\r\n"
    answer = await wire.raw((head + fields).encode(), until=b"x-authz-user: alice\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(wire.asked) == 1


@pytest.mark.parametrize("announced", ["content-length: 7", "content-length: 900", "transfer-encoding: chunked"])
@pytest.mark.parametrize("method", ["POST", "CCM_POST"])
@pytest.mark.slow
async def test_body_never_becomes_a_request(wire: Wire, method: str, announced: str) -> None:
    """Nor does a proxy that announces the client's body, and sends none, lose the next request in it."""
    head = f"{method} /v1/check/ HTTP/1.1\r\nhost: a\r\n{announced}\r\n\r\n".encode()
    forged = f"CCM_GET /v1/check/ HTTP/1.1\r\nhost: acme.example.test\r\nx-forwarded-client-cert: {HEADER}\r\n\r\n"
    reader, writer = await asyncio.open_unix_connection(wire.path)
    writer.write(head)
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"1234567" + forged.encode())
    rest = await reader.read()
    writer.close()
    assert b"connection: close" in answer.lower()
    assert b"HTTP/1.1" not in rest
    assert [check.host for check in wire.asked] == ["a"]


@pytest.mark.parametrize("method", ["GET", "CCM_POST"])
@pytest.mark.parametrize("cut", [1, 3, 30, 100, 3000])
@pytest.mark.slow
async def test_head_may_come_in_pieces(wire: Wire, method: str, cut: int) -> None:
    """Wherever it is cut, after another request on the same connection."""
    reader, writer = await asyncio.open_unix_connection(wire.path)
    head = f"{method} /v1/check/ HTTP/1.1\r\nhost: acme.example.test\r\nx-forwarded-client-cert: {HEADER}\r\n\r\n"
    for piece in ("GET /v1/auth HTTP/1.1\r\nhost: a\r\n\r\n", head[:cut], head[cut:]):
        writer.write(piece.encode())
        await asyncio.sleep(0.01)
    while b"x-authz-user: alice" not in (line := await reader.readline()):
        assert line
    writer.close()
    assert [check.host for check in wire.asked] == ["a", "acme.example.test"]


async def test_pipelined_requests_are_answered_in_order_or_refused(wire: Wire) -> None:
    """No answer is another request's; no proxy sends a request before it has the answer to the last."""
    reader, writer = await asyncio.open_unix_connection(wire.path)
    known = "".join(f"GET /v1/check/{number} HTTP/1.1\r\nhost: a\r\n\r\n" for number in range(40))
    writer.write(known.encode())
    await asyncio.sleep(0.05)
    writer.write(
        f"CCM_GET /v1/check/x HTTP/1.1\r\nhost: acme.example.test\r\nx-forwarded-client-cert: {HEADER}\r\n\r\n".encode()
    )
    answers = await reader.read()
    writer.close()
    assert answers.count(b"HTTP/1.1 403 ") == answers.count(b"HTTP/1.1 "), answers
    assert [check.target for check in wire.asked] == [f"/{number}" for number in range(40)]


async def test_tunnel_is_refused(wire: Wire) -> None:
    """The target of CONNECT is a host and a port (RFC 9110 section 9.3.6), and no endpoint."""
    answer = await wire.raw(b"CONNECT acme.example.test:443 HTTP/1.1\r\nhost: acme.example.test\r\n\r\n")
    assert answer.split(b" ", 2)[1] == b"403"
    assert wire.asked == []


async def test_auth_request_takes_method_and_uri_from_its_headers(wire: Wire) -> None:
    """Nginx always asks with GET at one path."""
    await wire.ask("/v1/auth", x_original_method="PUT", x_original_uri="/a/b?c")
    assert (wire.asked[0].method, wire.asked[0].target) == ("PUT", "/a/b?c")


async def test_client_request_is_read_from_its_headers(tmp_path: Path) -> None:
    """Where the listener names them: Host and request line are the service's own."""
    wire = Wire(tmp_path)
    names = ClientRequestHeaders("x-forwarded-host", None, "x-forwarded-method", "x-forwarded-uri")
    listener = Listener("traefik", (Says("alice"),), client_request=names)
    server = Server(Checks(wire.check, listener, Endpoints(), refuse=wire.refuse), wire.telemetry)
    listening = await asyncio.get_running_loop().create_unix_server(server, wire.path)
    forwarded = {"x_forwarded_host": "acme.example.test", "x_forwarded_method": "PUT", "x_forwarded_uri": "/a"}
    status, *_ = await wire.ask("/v1/auth", host="authz.internal", x_forwarded_client_cert=HEADER, **forwarded)
    assert (status, wire.asked[0].method, wire.asked[0].target) == (200, "PUT", "/a")
    status, *_ = await wire.ask("/v1/auth", x_forwarded_client_cert=HEADER)
    assert (status, wire.asked[1].host) == (403, "")
    listening.close()
    await server.shutdown(1)


@pytest.mark.parametrize("hosts", ["", "host: a\r\nhost: b\r\n"])
async def test_host_missing_or_repeated_is_refused(wire: Wire, hosts: str) -> None:
    """No host names no organization, and neither do two."""
    answer = await wire.raw(f"GET /v1/check/ HTTP/1.1\r\n{hosts}connection: close\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] == b"403"


@pytest.mark.parametrize("size", [9_000, 145_601, MAX_FIELD_BYTES - 100])
async def test_long_header_is_ours_to_judge(wire: Wire, size: int) -> None:
    """The server's limits are in force, above ours: the refusal has a reason."""
    await wire.ask(x_forwarded_client_cert="A" * size)
    assert wire.log == []
    assert len(wire.asked[0].values("x-forwarded-client-cert")[0]) == size


@pytest.mark.parametrize("octets", UNREADABLE)
async def test_request_that_cannot_be_read_is_refused_and_not_repeated(wire: Wire, octets: bytes) -> None:
    """Our answer, our reason, a counter; none of its octets in answer or log."""
    answer = await wire.raw(octets)
    assert answer.split(b" ", 2)[1] == b"403"
    assert b"S3CRET" not in answer
    assert b"S3CRET" not in wire.output.getvalue()
    (line,) = wire.log
    assert (line["listener"], line["reason"]) == ("envoy", "request_malformed")
    assert line["detail"]
    assert line["decision_id"] in answer.decode()
    assert b"authz_requests_rejected_total 1.0" in metrics_of(wire.telemetry)


async def test_adapter_that_fails_answers_503(wire: Wire) -> None:
    """And says nothing of what failed."""
    wire.error = RuntimeError("S3CRET")
    status, _, body = await wire.ask()
    assert status == 503
    assert b"S3CRET" not in body + wire.output.getvalue()


@pytest.mark.parametrize(("name", "value"), [("Zoë", "Zo%C3%AB"), ("a b", "a b"), ("100%", "100%25")])
async def test_user_name_cannot_break_a_header(wire: Wire, name: str, value: str) -> None:
    """What is not printable ASCII is per cent encoded."""
    allowed = decide(request(ALICE, CA))
    assert isinstance(allowed, Allow)
    user = User(1, 1, name, Enforcement.OFF)
    wire.decision = Allow(allowed.organization, user, None, None, Evidence())
    _, headers, _ = await wire.ask()
    assert headers["x-authz-user"] == value


async def test_connection_is_kept_for_the_next_check(wire: Wire) -> None:
    """Proxies ask on few connections."""
    reader, writer = await asyncio.open_unix_connection(wire.path)
    for _ in range(3):
        writer.write(b"GET /v1/check/ HTTP/1.1\r\nhost: acme.example.test\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
    writer.close()
    assert len(wire.asked) == 3
