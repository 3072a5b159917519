"""What a client writes itself must decide nothing behind nginx, and arrive nowhere."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.clients import Dial, bearer
from support.nginx_stage import Beside, NginxStage

from authz.demo.client import Connection, client_context
from authz.demo.mint import HOST, NEIGHBOUR_HOST
from authz.doctor.probe.probes import forged_headers
from authz.headers import KNOWN_HEADERS
from authz.web.answer import COMPLETED_BY, IDENTITY_HEADERS

pytestmark = pytest.mark.nginx


def alices_headers(stage: NginxStage) -> dict[str, str]:
    """Alice's certificate, in every form in which some proxy would hand it over."""
    return forged_headers(stage.world.clients["alice"].certificate.public_bytes(Encoding.DER))


@pytest.mark.parametrize("certificate", [None, "stranger"])
@pytest.mark.parametrize("name", sorted(KNOWN_HEADERS))
@pytest.mark.parametrize("statement", [None, "SUCCESS", "NONE"])
def test_certificate_header_of_the_client_is_not_believed(
    nginx_stage: NginxStage, dial: Dial, name: str, certificate: str | None, statement: str | None
) -> None:
    """Alice's certificate in a header, without her key, is no proof; whatever the client states in nginx's place."""
    spoofs = [(name, alices_headers(nginx_stage)[name])]
    spoofs += [] if statement is None else [("x-authz-peer", statement), ("ssl-client-verify", statement)]
    answer = dial(nginx_stage, certificate).get(headers=[*bearer(nginx_stage, "alice"), *spoofs])
    expected = "certificate_required" if certificate is None else "certificate_not_registered"
    assert (answer.status, nginx_stage.reason(answer)) == (403, expected)


@pytest.mark.parametrize("copies", [1, 2])
def test_spoofed_header_beside_the_own_certificate_is_replaced(
    nginx_stage: NginxStage, dial: Dial, copies: int
) -> None:
    """Bob stays bob, however many of alice's headers come with the request."""
    spoofs = [("x-ssl-client-cert", alices_headers(nginx_stage)["x-ssl-client-cert"]), ("x-authz-peer", "NONE")]
    for user, status in (("alice", 403), ("bob", 200)):
        answer = dial(nginx_stage, "bob").get(headers=[*bearer(nginx_stage, user), *(spoofs * copies)])
        assert answer.status == status


@pytest.mark.parametrize("statement", ["NONE", "FAILED:no", "SUCCESS", "", "x"])
def test_statement_of_the_client_changes_nothing(nginx_stage: NginxStage, dial: Dial, statement: str) -> None:
    """Neither for somebody with a certificate nor for somebody without one."""
    spoof = ("x-authz-peer", statement)
    assert dial(nginx_stage, "alice").get(headers=[*bearer(nginx_stage, "alice"), spoof]).status == 200
    assert dial(nginx_stage, None).get(headers=[*bearer(nginx_stage, "olga"), spoof]).status == 200
    assert dial(nginx_stage, None).get(headers=[*bearer(nginx_stage, "alice"), spoof]).status == 403


TRUSTED = [*IDENTITY_HEADERS, COMPLETED_BY, "x-authz-peer", "x-authz-payload", "x-original-method", "x-original-uri"]
STATED = [*sorted(KNOWN_HEADERS), "ssl-client-verify", "x-ssl-client-verify", "x-forwarded-host", "forwarded"]


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("name", [*TRUSTED, *STATED, "X-AUTHZ-USER", "x-forwarded-for"])
def test_header_of_the_client_does_not_reach_the_application(
    nginx_stage: NginxStage, dial: Dial, name: str, copies: int
) -> None:
    """Neither an identity, nor what some proxy would state; also where there is nothing to put in its place."""
    spoofs = [(name, "spoofed")] * copies
    answer = dial(nginx_stage, None).get(headers=[*bearer(nginx_stage, "olga"), *spoofs])
    assert answer.status == 200
    assert "spoofed" not in answer.body.decode()
    assert answer.seen["x-authz-user"] == "olga"
    assert "x-authz-certificate" not in answer.seen


@pytest.mark.parametrize("name", ["x_authz_user", "x_ssl_client_cert", "x_authz-peer", "X_Authz_User"])
def test_underscore_twin_is_dropped(nginx_stage: NginxStage, dial: Dial, name: str) -> None:
    """A name that servers fold into a trusted one arrives nowhere."""
    answer = dial(nginx_stage, "alice").get(headers=[*bearer(nginx_stage, "alice"), (name, "root")])
    assert answer.status == 200
    assert "root" not in answer.body.decode()


def test_token_does_not_reach_the_application(nginx_stage: NginxStage, dial: Dial) -> None:
    """It ends at the service."""
    assert "authorization" not in dial(nginx_stage, "alice").get(headers=bearer(nginx_stage, "alice")).seen


def test_service_is_asked_with_the_original_method_and_nothing_of_the_clients(
    nginx_stage: NginxStage, dial: Dial
) -> None:
    """Stated by nginx, not by the client, who says otherwise."""
    spoofs = [("x-original-method", "DELETE"), ("x-original-uri", "/spoofed")]
    answer = dial(nginx_stage, None).get(headers=[*bearer(nginx_stage, "alice"), *spoofs], method="POST")
    line = nginx_stage.service.decision(answer.headers["x-authz-decision-id"])
    assert (line["listener"], line["method"]) == ("nginx", "POST")


def test_two_tokens_are_nobodys(nginx_stage: NginxStage, dial: Dial) -> None:
    """Which one nginx would hand over is not asked."""
    headers = [*bearer(nginx_stage, "olga"), *bearer(nginx_stage, "alice")]
    assert dial(nginx_stage, None).get(headers=headers).status in {400, 401}


@pytest.mark.parametrize("target", ["x-ssl-client-cert", "x-authz-peer", "authorization", "x-authz-user"])
def test_hop_by_hop_removal_denies_at_worst(nginx_stage: NginxStage, dial: Dial, target: str) -> None:
    """Naming a trusted header in Connection takes none away."""
    close = ("connection", f"close, {target}")
    assert dial(nginx_stage, "bob").get(headers=[*bearer(nginx_stage, "alice"), close]).status == 403
    answer = dial(nginx_stage, "alice").get(headers=[*bearer(nginx_stage, "alice"), close])
    assert (answer.status, answer.seen["x-authz-user"]) == (200, "alice")


BYPASSES = [
    "/admin/x.php",
    "/foo%2ephp",
    "/noauth/..;/admin",
    "//noauth/x",
    "/a%2Fb/..%2fc",
    "/v1/auth",
    "/v1/check",
    "/healthz",
    "/metrics",
    "/favicon.ico",
    "/.well-known/x",
    "/%2e%2e/%2e%2e/_authz",
    "/_authz/",
    "/_authz/x",
    "/x?/_authz",
    "/refused",
    "/@refused",
]


@pytest.mark.parametrize("path", BYPASSES)
def test_path_of_the_client_changes_no_decision(nginx_stage: NginxStage, dial: Dial, path: str) -> None:
    """No path is exempt, and the application gets it as it was written."""
    answer = dial(nginx_stage, "bob").get(path, headers=bearer(nginx_stage, "alice"))
    assert answer.status in {400, 403}


@pytest.mark.parametrize("path", ["/_authz", "/_authz?x", "//_authz", "/x/../_authz", "/%5fauthz", "/_authz/."])
def test_location_of_the_check_is_nobodys(nginx_stage: NginxStage, dial: Dial, path: str) -> None:
    """Internal, however it is spelled: the service's answer goes to nginx only."""
    answer = dial(nginx_stage, "alice").get(path, headers=bearer(nginx_stage, "alice"))
    assert answer.status in {200, 404}
    assert "x-authz-organization" not in answer.headers
    assert answer.status == 404 or answer.seen["x-authz-user"] == "alice"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "DELETE", "PROPFIND", "BREW"])
def test_method_changes_no_decision(nginx_stage: NginxStage, dial: Dial, method: str) -> None:
    """None is exempt."""
    assert dial(nginx_stage, "bob").get(method=method, headers=bearer(nginx_stage, "alice")).status == 403


def test_trace_is_not_served(nginx_stage: NginxStage, dial: Dial) -> None:
    """The proxy refuses it before anybody is asked."""
    assert dial(nginx_stage, "alice").get(method="TRACE", headers=bearer(nginx_stage, "alice")).status == 405


def test_host_spelled_otherwise_is_the_same_organization_and_the_same_for_the_application(
    nginx_stage: NginxStage, dial: Dial
) -> None:
    """Case, port and a trailing dot name no other host, and the application hears one spelling."""
    for host in (HOST.upper(), f"{HOST}:8443", f"{HOST}."):
        connection: Connection = dial(nginx_stage, "alice")
        connection._host = host
        answer = connection.get(headers=bearer(nginx_stage, "alice"))
        assert (answer.status, answer.seen["host"]) == (200, HOST)


@contextlib.contextmanager
def sent(stage: NginxStage, octets: bytes, name: str | None = "localhost") -> Iterator[ssl.SSLSocket]:
    """A connection with alice's certificate on which octets were sent that need not be HTTP."""
    folder = stage.world.folder
    context = client_context(folder / "roots.pem", folder / "alice.pem")
    context.check_hostname = False
    plain = socket.create_connection(("127.0.0.1", stage.proxy.port), 15)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with context.wrap_socket(plain, server_hostname=name) as tls:
        tls.sendall(octets)
        yield tls


def raw(stage: NginxStage, octets: bytes, *, name: str | None = "localhost") -> bytes:
    """What comes back until nginx closes."""
    with sent(stage, octets, name) as tls:
        return b"".join(iter(lambda: tls.recv(65_536), b""))


def status_line(stage: NginxStage, octets: bytes) -> bytes:
    """The first line that comes back: nginx does not close for five seconds where a body may still come."""
    with sent(stage, octets) as tls:
        return tls.makefile("rb").readline()


def request(stage: NginxStage, line: str, *headers: str) -> bytes:
    """A request as alice, to be answered by the end of the connection."""
    ((key, value),) = bearer(stage, "alice")
    return "\r\n".join([line, *headers, f"{key}: {value}", "connection: close", "", ""]).encode()


def test_absolute_target_names_the_host_for_service_and_application_alike(nginx_stage: NginxStage) -> None:
    """RFC 9112 section 3.2.2: the target wins over the Host header, for both."""
    answer = raw(nginx_stage, request(nginx_stage, f"GET https://{HOST}/ HTTP/1.1", f"host: {NEIGHBOUR_HOST}"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    seen = dict(json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["headers"])
    assert (seen["host"], seen["x-authz-organization"]) == (HOST, "acme")
    answer = raw(nginx_stage, request(nginx_stage, f"GET https://{NEIGHBOUR_HOST}/ HTTP/1.1", f"host: {HOST}"))
    assert answer.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    ("line", "headers"),
    [
        ("GET / HTTP/1.1", [f"host: {HOST}", f"host: {HOST}"]),
        ("GET / HTTP/1.1", [f"host: {NEIGHBOUR_HOST}", f"host: {HOST}"]),
        ("GET / HTTP/1.1", []),
        ("GET / HTTP/1.0", []),
        ("GET / HTTP/1.1", ["host: "]),
        ("GET / HTTP/1.1", [f"host: {HOST},{NEIGHBOUR_HOST}"]),
        ("GET / HTTP/1.1", [f"host: {HOST} {NEIGHBOUR_HOST}"]),
        ("GET / HTTP/1.1", ["host: _"]),
        (f"CONNECT {HOST}:443 HTTP/1.1", [f"host: {HOST}"]),
        ("GET / HTTP/1.1", [f"host: {HOST}", "content-length: 1", "transfer-encoding: chunked"]),
        ("GET /\x01 HTTP/1.1", [f"host: {HOST}"]),
    ],
)
def test_malformed_request_does_not_reach_the_application(
    nginx_stage: NginxStage, line: str, headers: list[str]
) -> None:
    """Two hosts, none, an empty or joined one, two lengths: refused by nginx or by the service."""
    before = nginx_stage.application.requests
    status = status_line(nginx_stage, request(nginx_stage, line, *headers)).split(b" ")[1]
    assert status in {b"400", b"403", b"405"}
    assert nginx_stage.application.requests == before


def test_http_0_9_names_no_organization(nginx_stage: NginxStage) -> None:
    """A request without headers has neither host nor token."""
    before = nginx_stage.application.requests
    assert b"MUTUAL_AUTHENTICATION_FAILED" in raw(nginx_stage, b"GET /\r\n")
    assert nginx_stage.application.requests == before


def test_requests_in_a_pipeline_are_each_checked(nginx_stage: NginxStage) -> None:
    """The second's token is not the first's."""
    first = request(nginx_stage, "GET / HTTP/1.1", f"host: {HOST}").replace(b"connection: close", b"x: y")
    second = f"GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n".encode()
    answers = raw(nginx_stage, first + second)
    assert answers.count(b"HTTP/1.1 200") == answers.count(b"HTTP/1.1 401") == 1


@pytest.mark.parametrize("name", [None, "unknown.example.test", NEIGHBOUR_HOST, "_"])
def test_sni_changes_no_decision(nginx_stage: NginxStage, name: str | None) -> None:
    """One server for every name: the Host decides, and the certificate was asked for."""
    answer = raw(nginx_stage, request(nginx_stage, "GET / HTTP/1.1", f"host: {HOST}"), name=name)
    assert answer.startswith(b"HTTP/1.1 200")


def test_large_header_of_the_client_does_no_harm(nginx_stage: NginxStage, dial: Dial) -> None:
    """150 KB of a spoofed header are nginx's to refuse."""
    headers = [*bearer(nginx_stage, "alice"), ("x-ssl-client-cert", "A" * 150_000)]
    assert dial(nginx_stage, "alice").get(headers=headers).status == 400


class _Redirecting(BaseHTTPRequestHandler):
    """An application that tells nginx to serve something else."""

    def do_GET(self) -> None:
        """Answer with the header that nginx would obey."""
        self.send_response(200)
        self.send_header("x-accel-redirect", "/_authz")
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"mine")

    def log_message(self, *_args: object) -> None:
        """Nothing."""


@pytest.fixture
def redirecting() -> Iterator[int]:
    """The port of such an application."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Redirecting)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("obeyed", [False, True])
def test_application_cannot_have_another_location_served(
    nginx_stage: NginxStage, beside: Beside, dial: Dial, redirecting: int, obeyed: bool
) -> None:
    """X-Accel-Redirect is not obeyed: without the line, an application that is tricked shows the service's answer."""
    changes = {"server 127.0.0.1:8080": f"server 127.0.0.1:{redirecting}"}
    changes |= {"proxy_ignore_headers X-Accel-Redirect;": ""} if obeyed else {}
    stage = beside(nginx_stage, changes)
    answer = dial(stage, "alice").get(headers=bearer(stage, "alice"))
    assert (answer.status, answer.body) == ((200, b"") if obeyed else (200, b"mine"))
    assert ("x-authz-user" in answer.headers) is obeyed


def test_location_added_without_a_word_is_checked_and_spoofed_headers_replaced(
    nginx_stage: NginxStage, beside: Beside, dial: Dial
) -> None:
    """What stands at the top is inherited, by a location found by a regular expression too."""
    mark = "        location / {\n            # No path"
    stage = beside(nginx_stage, {mark: "        location ~ \\.php$ { proxy_pass http://application; }\n" + mark})
    for path in ("/x.php", "/admin/x.php", "/foo%2ephp", "//x.php"):
        assert dial(stage, "bob").get(path, headers=bearer(stage, "alice")).status == 403
    spoofs = [("x-authz-user", "root"), ("x-authz-certificate", "00")]
    seen = dial(stage, None).get("/x.php", headers=[*bearer(stage, "olga"), *spoofs]).seen
    assert (seen["x-authz-user"], seen.get("x-authz-certificate")) == ("olga", None)


def test_location_with_a_header_line_of_its_own_loses_all_that_is_inherited(
    nginx_stage: NginxStage, beside: Beside, dial: Dial
) -> None:
    """As the file warns: what a client wrote arrives as the service's word."""
    mark = "        location / {\n            # No path"
    own = "        location /own/ { proxy_set_header X-Own x; proxy_pass http://application; }\n"
    stage = beside(nginx_stage, {mark: own + mark})
    spoof = [*bearer(stage, "olga"), ("x-authz-user", "root")]
    assert dial(stage, None).get("/own/x", headers=spoof).seen["x-authz-user"] == "root"
    assert dial(stage, None).get("/x", headers=spoof).seen["x-authz-user"] == "olga"
