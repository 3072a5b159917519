"""docs/applications.md: each diff is applied to the shipped file, run by the real proxy, and found clean by lint."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.clients import Dial, bearer
from support.documented import PlacedEnvoy, blocks, linted, patched
from support.nginx_stage import Nginx, NginxStage

from authz.demo import Stage
from authz.demo.mint import HOST
from authz.demo.processes import free_port, running, shipped

pytestmark = [pytest.mark.envoy, pytest.mark.nginx, pytest.mark.usefixtures("patch")]

DIFFS = {
    name: [diff for diff in blocks("applications.md", "diff") if diff.startswith(f"--- {name}\n")]
    for name in ("envoy.yaml", "nginx.conf")
}
CORS = {"origin": "https://app.example", "access-control-request-method": "PUT"}


class _Switching(BaseHTTPRequestHandler):
    """Switches protocols when asked, and returns every byte after it; everything else is 200 with the body's length."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        if self.headers.get("upgrade") == "websocket":
            self.connection.sendall(b"HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            while data := self.connection.recv(1024):
                self.connection.sendall(data)
            return
        body = str(len(self.rfile.read(int(self.headers.get("content-length", 0))))).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_OPTIONS = do_GET  # noqa: N815 - names of the standard library

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


def with_all(name: str) -> str:
    """A shipped file after all diffs of the page, one after the other."""
    text = shipped(name).read_text(encoding="utf-8")
    for diff in DIFFS[name]:
        text = patched(text, diff)
    return text


@pytest.fixture(scope="module")
def application() -> Iterator[int]:
    """The port of an application that speaks WebSocket."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Switching)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module", params=["envoy", "nginx"])
def stage(
    request: pytest.FixtureRequest, envoy: None, nginx: str, application: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """The world behind one of the proxies, changed as the page says; `health` is its port for load balancers."""
    folder, health = tmp_path_factory.mktemp("proxy"), free_port()
    made: Stage
    if request.param == "envoy":
        made = Stage(tmp_path_factory.mktemp("world"))
        text = with_all("envoy.yaml").replace("0.0.0.0, port_value: 8081", f"127.0.0.1, port_value: {health}")
        made.proxy = PlacedEnvoy(made, folder, text, application=application)
    else:
        made = NginxStage(tmp_path_factory.mktemp("world"))
        text = with_all("nginx.conf").replace("listen 8081", f"listen 127.0.0.1:{health}")
        made.proxy = Nginx(made.world, application=application, folder=folder, text=text)  # type: ignore[assignment]
    made.health = health  # type: ignore[attr-defined]
    with running(made.application, made.service, made.proxy):
        yield made


@pytest.mark.parametrize(("name", "diff"), [(name, diff) for name, diffs in DIFFS.items() for diff in diffs])
def test_each_diff_leaves_a_clean_configuration(name: str, diff: str) -> None:
    """Also alone."""
    assert linted(name, patched(shipped(name).read_text(encoding="utf-8"), diff)) == []


@pytest.mark.parametrize("name", sorted(DIFFS))
def test_all_diffs_together_leave_a_clean_configuration(name: str) -> None:
    """There are some for each proxy."""
    assert len(DIFFS[name]) >= 3
    assert linted(name, with_all(name)) == []


@pytest.mark.parametrize(("certificate", "status"), [("alice", 101), ("bob", 403), (None, 403)])
def test_websocket_is_checked_when_it_begins(stage: Stage, dial: Dial, certificate: str | None, status: int) -> None:
    """Then bytes flow; a refused one gets the usual answer."""
    connection = dial(stage, certificate)
    fields = [("host", HOST), *bearer(stage, "alice"), ("connection", "Upgrade"), ("upgrade", "websocket")]
    fields += [("sec-websocket-version", "13"), ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")]
    connection.tls.sendall(
        "\r\n".join(["GET /ws HTTP/1.1", *(f"{key}: {value}" for key, value in fields), "", ""]).encode()
    )
    answer = connection.tls.recv(65536)
    assert int(answer.split()[1]) == status
    if status == 101:
        connection.tls.sendall(b"ping")
        assert connection.tls.recv(4) == b"ping"


def test_other_upgrades_reach_no_application(stage: Stage, dial: Dial) -> None:
    """Only WebSocket is switched to."""
    answer = dial(stage, "alice").get(
        headers=[*bearer(stage, "alice"), ("connection", "Upgrade"), ("upgrade", "other")]
    )
    assert answer.status in {200, 403}


def test_preflight_of_a_listed_origin_is_answered_by_the_proxy(stage: Stage, dial: Dial) -> None:
    """Without token and certificate."""
    answer = dial(stage, None).get(method="OPTIONS", headers=list(CORS.items()))
    assert answer.status in {200, 204}
    assert answer.headers["access-control-allow-origin"] == CORS["origin"]
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.body == b""


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", CORS | {"origin": "https://evil.example"}),
        ("OPTIONS", CORS | {"origin": "https://app.example.evil.example"}),
        ("OPTIONS", {"origin": CORS["origin"]}),
        ("OPTIONS", {"access-control-request-method": "PUT"}),
        ("GET", CORS),
        ("POST", CORS | {"x-http-method-override": "OPTIONS"}),
    ],
    ids=["other origin", "longer origin", "no method", "no origin", "get", "override"],
)
def test_what_is_no_preflight_is_checked(stage: Stage, dial: Dial, method: str, headers: dict[str, str]) -> None:
    """Without a token it is refused; with token and certificate it is allowed."""
    refused = dial(stage, None).get(method=method, headers=list(headers.items()))
    assert refused.status == 401
    assert stage.service.decision(refused.headers["x-authz-decision-id"])
    allowed = dial(stage, "alice").get(method=method, headers=[*headers.items(), *bearer(stage, "alice")])
    assert allowed.status == 200


def test_refusal_can_be_read_by_a_script(stage: Stage, dial: Dial) -> None:
    """Of a listed origin, and only there."""
    for origin in (CORS["origin"], "https://evil.example"):
        answer = dial(stage, "alice").get(headers=[("origin", origin)])
        assert answer.status == 401
        assert answer.headers.get("access-control-allow-origin", "") == (origin if origin == CORS["origin"] else "")


@pytest.mark.parametrize(("path", "statuses"), [("/healthz", {200}), ("/", {404}), ("/healthz/../", {400, 404})])
def test_health_check_has_a_port_of_its_own(stage: Stage, dial: Dial, path: str, statuses: set[int]) -> None:
    """In plain text, and it leads nowhere else."""
    plain = http.client.HTTPConnection("127.0.0.1", stage.health, timeout=15)  # type: ignore[attr-defined]
    with contextlib.closing(plain):
        plain.request("GET", path)
        assert plain.getresponse().status in statuses
    assert dial(stage, None).get("/healthz").status == 401


@pytest.mark.parametrize(("path", "size"), [("/uploads/a", 3_000_000), ("/a", 900_000)])
def test_upload_is_checked_and_arrives(stage: Stage, dial: Dial, path: str, size: int) -> None:
    """Whole, for whom it is allowed."""
    for certificate, status in (("alice", 200), ("bob", 403)):
        connection = dial(stage, certificate)
        token = bearer(stage, "alice")[0][1]
        head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: {token}\r\ncontent-length: {size}\r\n\r\n"
        # The proxy refuses by the head: the body is sent only where it is read.
        connection.tls.sendall(head.encode() + bytes(size if status == 200 else 0))
        with contextlib.closing(http.client.HTTPResponse(connection.tls)) as answer:
            answer.begin()
            assert answer.status == status
            assert status != 200 or answer.read() == str(size).encode()
