"""Every way round the check that is known of nginx: open where it is written in, closed in `deploy/nginx.conf`.

So that the file's warnings are true of this nginx, each is seen to be one, and seen not to be there as shipped.
"""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from support.clients import Dial, bearer
from support.nginx_stage import NginxStage, nginx_socket
from support.worker_processes import until
from test_nginx_spoofing import raw

from authz.demo.mint import HOST
from authz.demo.processes import running

pytestmark = pytest.mark.nginx
PASS = "proxy_pass http://application;"

OPENED = {
    "auth_request off": ("location /off/ { auth_request off; %s }", "/off/x"),
    "a location found by a regular expression": ("location ~ \\.php$ { auth_request off; %s }", "/off.php"),
    "the same, behind a folder": ("location ~ \\.php$ { auth_request off; %s }", "/admin/x.php"),
    "the same, encoded": ("location ~ \\.php$ { auth_request off; %s }", "/foo%2ephp"),
    "satisfy any": ("location /any/ { satisfy any; allow all; %s }", "/any/x"),
    "return": ("location /return/ { return 200 '{}'; }", "/return/x"),
    "rewrite last": ("location /rewrite/ { rewrite ^ /off/x last; %s }", "/rewrite/x"),
    "error_page": ("location /page/ { error_page 401 403 500 =200 @open; %s }", "/page/x"),
    "a path in an open folder": ("location /noauth/ { auth_request off; %s }", "/noauth/..;/admin"),
    "a path with two slashes": ("location /noauth/ { auth_request off; %s }", "//noauth/x"),
    "a path that climbs": ("location /noauth/ { auth_request off; %s }", "/x/../noauth/x"),
}
HELPERS = f"location /off/ {{ auth_request off; {PASS} }} location @open {{ auth_request off; {PASS} }}"


def written_in() -> dict[str, str]:
    """What changes in the shipped configuration when somebody writes all of them into it."""
    added = {text.replace("%s", PASS) for text, _ in OPENED.values()}
    added -= {one for one in added if one.startswith("location /off/")}
    mark = "        location / {\n            # No path"
    return {mark: f"        {HELPERS}\n        " + "\n        ".join(sorted(added)) + "\n" + mark}


@pytest.fixture(scope="module")
def opened(nginx_stage: NginxStage) -> Iterator[NginxStage]:
    """An nginx in which somebody wrote all of them."""
    made = nginx_stage.beside(written_in())
    with running(made.nginx):
        yield made


@pytest.mark.parametrize("what", OPENED)
def test_way_round_the_check_is_one_where_it_is_written_in(opened: NginxStage, dial: Dial, what: str) -> None:
    """A client without token and certificate is served, and the service never hears of it."""
    before = len(opened.service.log)
    assert dial(opened, None).get(OPENED[what][1]).status == 200
    if what == "error_page":  # asked, refused, and served all the same
        until(lambda: len(opened.service.log) > before)
    else:
        assert len(opened.service.log) == before


@pytest.mark.parametrize("what", OPENED)
def test_way_round_the_check_is_closed_as_shipped(nginx_stage: NginxStage, dial: Dial, what: str) -> None:
    """By the same path, no request gets past the check, and another user's certificate does not help."""
    before = nginx_stage.application.requests
    path = OPENED[what][1]
    assert dial(nginx_stage, None).get(path).status == 401
    answer = dial(nginx_stage, "bob").get(path, headers=bearer(nginx_stage, "alice"))
    assert (answer.status, nginx_stage.reason(answer)) == (403, "certificate_of_another_user")
    assert nginx_stage.application.requests == before


class _Recording(BaseHTTPRequestHandler):
    """A service that allows everything, and keeps what it was asked."""

    def do_GET(self) -> None:
        """Allow as the service does."""
        self.server.asked.append(
            (self.command, self.path, [(key.lower(), value) for key, value in self.headers.items()])
        )
        self.send_response(200)
        for name in ("organization", "user", "certificate", "binding", "decision-id"):
            self.send_header(f"x-authz-{name}", "" if name == "certificate" else f"said-{name}")
        self.send_header("content-length", "0")
        self.end_headers()

    def address_string(self) -> str:
        """A Unix socket's client has no address."""
        return ""

    def log_message(self, *_args: object) -> None:
        """Nothing."""


class Recorder(socketserver.ThreadingUnixStreamServer):
    """Stands at the service's socket."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.asked: list[tuple[str, str, list[tuple[str, str]]]] = []
        super().__init__(str(path), _Recording)

    def start(self) -> None:
        """Answer in a thread."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop answering."""
        self.shutdown()
        self.server_close()


@pytest.fixture
def recorded(nginx: str, tmp_path: Path) -> Iterator[tuple[NginxStage, Recorder]]:
    """The shipped nginx before a recorder in the service's place."""
    made = NginxStage(tmp_path)
    recorder = Recorder(nginx_socket(made.world))
    with running(made.application, recorder, made.nginx):  # type: ignore[arg-type]
        yield made, recorder


CLIENTS = [
    ("authorization", "Bearer token"),
    ("cookie", "a=1"),
    ("x-ssl-client-cert", "mine"),
    ("x-authz-peer", "SUCCESS"),
    ("x-original-method", "DELETE"),
    ("x-original-uri", "/mine"),
    ("x-forwarded-client-cert", "mine"),
    ("x-authz-user", "root"),
    ("transfer-encoding", "chunked"),
]


@pytest.mark.parametrize(
    "target", ["/a%2Fb/..%2fc//d/./e/../f?q=a%20b+c&x=%00", "/", "//evil.example/x", "/?", "/_authz?x"]
)
def test_service_is_asked_with_what_nginx_says_and_nothing_else(
    recorded: tuple[NginxStage, Recorder], target: str
) -> None:
    """Method, target and host of the client's request to the letter, the token, and nginx's two words."""
    stage, recorder = recorded
    lines = [f"POST {target} HTTP/1.1", f"host: {HOST.upper()}:8443", *[f"{key}: {value}" for key, value in CLIENTS]]
    octets = "\r\n".join([*lines, "connection: close", "", "2", "{}", "0", "", ""]).encode()
    assert raw(stage, octets).startswith(b"HTTP/1.1 404" if target.startswith("/_authz") else b"HTTP/1.1 200")
    if target.startswith("/_authz"):
        assert recorder.asked == []
        return
    ((method, path, headers),) = recorder.asked
    said = dict(headers)
    assert len(said) == len(headers)
    assert (method, path) == ("GET", "/v1/auth")
    certificate = said.pop("x-ssl-client-cert")
    assert re.fullmatch(r"-----BEGIN%20CERTIFICATE-----%0A[A-Za-z0-9%]+-----END%20CERTIFICATE-----%0A", certificate)
    assert said == {
        "host": HOST,
        "x-original-method": "POST",
        "x-original-uri": target,
        "authorization": "Bearer token",
        "x-authz-peer": "SUCCESS",
    }


def test_application_sees_what_the_service_answered(recorded: tuple[NginxStage, Recorder], dial: Dial) -> None:
    """Each of the five, an empty one left out, and nothing that the client wrote under those names."""
    stage, _ = recorded
    spoofs = [(f"x-authz-{name}", "mine") for name in ("organization", "user", "certificate", "binding", "decision-id")]
    seen = dial(stage, None).get(headers=spoofs).seen
    found = {key: value for key, value in seen.items() if key.startswith("x-authz")}
    assert found == {f"x-authz-{name}": f"said-{name}" for name in ("organization", "user", "binding", "decision-id")}
