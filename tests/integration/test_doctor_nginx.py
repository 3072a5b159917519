"""What the rules of `authz doctor` call a fault of nginx is one in a real nginx, and mended it is not there."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.clients import bearer
from support.doctor_faults import NGINX, NGINX_FAULTS, WORDS, changed, mended
from support.doctor_lab import Stranger, arrived, stranger_by_tls
from support.nginx_stage import Nginx, NginxStage
from support.worker_processes import until

from authz.demo.client import ClientResponse, Connection, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import free_port, running
from authz.doctor.findings import SEEN
from authz.doctor.rules import NGINX_RULES

pytestmark = pytest.mark.nginx

SERVED = {
    "nginx-location-unchecked": "/open/..;/closed",
    "nginx-path-unchecked": "/health",
    "nginx-no-check": "/",
    "nginx-check-answered-here": "/",
    "nginx-satisfy-any": "/",
    "nginx-rewrite-around": "/in/x",
    "nginx-error-page-around": "/",
    "nginx-service-cleartext": "/",
    "nginx-service-unverified": "/",
}
"""Where anonymous, without token and certificate, is served."""

ARRIVES = {
    "nginx-headers-not-inherited": ("x-authz-user", "root"),
    "nginx-identity-not-set": ("x-authz-user", "root"),
    "nginx-identity-from-client": ("x-authz-user", "root"),
    "nginx-certificate-headers": ("x-ssl-cert", "mine"),
    "nginx-forwarded-host": ("x-forwarded-host", "evil.test"),
    "nginx-underscores": ("x_authz_user", "root"),
    "nginx-real-ip": ("x-forwarded-for", "8.8.8.8"),
}
"""What a client writes into which header, and the application sees."""

REFUSED = {
    "nginx-check-host": 403,
    "nginx-certificate-not-sent": 403,
    "nginx-certificate-broken": 403,
    "nginx-no-certificate-request": 403,
}
"""How alice, with her certificate, is refused."""

ALONE = {
    "nginx-server-unchecked",
    "nginx-return-before-check",
    "nginx-errors-intercepted",
    "nginx-subrequests",
    "nginx-verdict-cached",
    "nginx-answers-cached",
    "nginx-check-reachable",
    "nginx-accel-redirect",
    "nginx-variables-not-inherited",
    "nginx-host-differs",
    "nginx-check-headers-passed",
    "nginx-check-body-passed",
    "nginx-listener-cleartext",
    "nginx-servers-differ",
    "nginx-session-cache",
    "nginx-session-tickets",
    "nginx-early-data",
}
"""What has a test of its own below."""


class Lab:
    """nginx with one fault at a time, before a stage's service."""

    def __init__(self, stage: NginxStage, folder: Path) -> None:
        self.stage, self._folder = stage, folder
        self.stranger, self.by_tls = Stranger(), stranger_by_tls(folder)
        self.extra_port = 0

    @contextlib.contextmanager
    def nginx(
        self, rule: str, *, mend: bool = False, application: int | None = None, stranger: bool = False
    ) -> Iterator[Nginx]:
        """One with the fault, or with what the rule says done; `stranger` answers in the service's place."""
        text = changed(NGINX, NGINX_FAULTS.get(rule, {}))
        text = mended("nginx.conf", text, rule) if mend and rule not in WORDS else NGINX if mend else text
        folder = Path(tempfile.mkdtemp(prefix="doctor-", dir=self._folder))
        # Not before: one that is free for long is somebody else's by then.
        self.extra_port = free_port()
        if stranger or (rule.startswith("nginx-service-") and not mend):
            text = self._asks_stranger(text, self.by_tls.port if "unverified" in rule else self.stranger.port)
        text = text.replace("/var/cache/nginx/doctor", str(folder / "cache")).replace("8445", str(self.extra_port))
        made = Nginx(self.stage.world, application=application or self.stage.application.port, folder=folder, text=text)
        with running(made):
            yield made

    @staticmethod
    def _asks_stranger(text: str, port: int) -> str:
        text = text.replace("192.0.2.7:9003", f"127.0.0.1:{port}")
        was = "server unix:/run/authz/nginx.sock max_fails=0;"
        return text.replace(was, f"server 127.0.0.1:{port};  # was unix:/run/authz/nginx.sock")

    def anonymous(self, nginx: Nginx, path: str = "/", *headers: tuple[str, str]) -> ClientResponse:
        """Without token and certificate."""
        return ask(nginx.port, self.context(None), HOST, headers, path)

    def user(self, nginx: Nginx, name: str = "alice", *headers: tuple[str, str], path: str = "/") -> ClientResponse:
        """A user with token and certificate."""
        return ask(nginx.port, self.context(name), HOST, [*bearer(self.stage, name), *headers], path)

    def context(self, certificate: str | None) -> ssl.SSLContext:
        """A client's."""
        folder = self.stage.world.folder
        return client_context(folder / "roots.pem", certificate and folder / f"{certificate}.pem")

    def served(self, act: Callable[[], object]) -> bool:
        """Whether the application hears of it."""
        before = self.stage.application.requests
        act()
        return self.stage.application.requests > before


@pytest.fixture(scope="module")
def lab(patch: None, nginx_stage: NginxStage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """What stays up while nginx is started anew for each fault."""
    made = Lab(nginx_stage, tmp_path_factory.mktemp("doctor"))
    with running(made.stranger, made.by_tls):
        yield made


@contextlib.contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[int]:
    """An application that always answers the same, at / ; elsewhere it answers `inside`. Its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer."""
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body if self.path == "/" else b"inside")

        def log_message(self, *_args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_every_rule_that_says_seen_is() -> None:
    """Here."""
    assert {*SERVED, *ARRIVES, *REFUSED, *ALONE} == {rule.id for rule in NGINX_RULES if rule.proof == SEEN}


@pytest.mark.parametrize("rule", SERVED)
def test_no_request_is_served(lab: Lab, rule: str) -> None:
    """The application answers a client that has nothing; mended it hears of no such request."""
    with lab.nginx(rule) as nginx:
        assert lab.served(lambda: lab.anonymous(nginx, SERVED[rule]))
    with lab.nginx("shipped" if "-service-" in rule else rule, mend=True) as nginx:
        assert not lab.served(lambda: lab.anonymous(nginx, SERVED[rule]))


@pytest.mark.parametrize("rule", ARRIVES)
def test_header_of_the_client_arrives(lab: Lab, rule: str) -> None:
    """Alice's request reaches the application with what she wrote; mended it does not."""
    for mend in (False, True):
        with lab.nginx(rule, mend=mend) as nginx:
            answer = lab.user(nginx, "alice", ARRIVES[rule])
            assert answer.status == 200
            assert (arrived(answer, ARRIVES[rule][0]) == ARRIVES[rule][1]) is not mend


@pytest.mark.parametrize("rule", REFUSED)
def test_right_certificate_is_refused(lab: Lab, rule: str) -> None:
    """No client can be let in; mended alice is."""
    with lab.nginx(rule) as nginx:
        assert lab.user(nginx).status == REFUSED[rule]
    with lab.nginx(rule, mend=True) as nginx:
        assert lab.user(nginx).status == 200


def test_other_server_asks_no_source(lab: Lab) -> None:
    """At another port here; a Host would do at the same one."""
    with lab.nginx("nginx-server-unchecked"):
        answer = ask(lab.extra_port, lab.context(None), HOST, [("x-authz-user", "root")])
        assert answer.status == 200


def test_return_is_answered_before_the_check(lab: Lab) -> None:
    """To no client."""
    with lab.nginx("nginx-return-before-check") as nginx:
        assert lab.anonymous(nginx).body == b"open"
    with lab.nginx("nginx-return-before-check", mend=True) as nginx:
        assert lab.anonymous(nginx).status == 401


def test_refusal_of_the_application_is_answered_as_the_services(lab: Lab) -> None:
    """Its body is lost; mended it arrives."""
    for mend in (False, True):
        with (
            answering(403, b"mine") as port,
            lab.nginx("nginx-errors-intercepted", mend=mend, application=port) as nginx,
        ):
            assert (lab.user(nginx).body == b"mine") is mend


def decisions(lab: Lab) -> int:
    """How often the service was asked."""
    return sum("decision_id" in line for line in list(lab.stage.service.log))


def test_subrequest_is_not_asked_about(lab: Lab) -> None:
    """What the answer to / includes is served; the service was asked about / alone."""
    page = b'<!--#include virtual="/other" -->'
    with answering(200, page, content_type="text/html") as port:
        with lab.nginx("nginx-subrequests", application=port) as nginx:
            before = decisions(lab)
            assert lab.user(nginx).body == b"inside"
            until(lambda: decisions(lab) > before)
            assert decisions(lab) == before + 1
        with lab.nginx("shipped", application=port) as nginx:
            assert lab.user(nginx).body == page


def test_cached_verdict_lets_no_request_in(lab: Lab) -> None:
    """After alice was."""
    for mend in (False, True):
        with lab.nginx("nginx-verdict-cached", mend=mend) as nginx:
            assert lab.user(nginx).status == 200
            assert (lab.anonymous(nginx).status == 200) is not mend


def test_cached_answer_is_another_users(lab: Lab) -> None:
    """Bob gets what alice got."""
    for mend in (False, True):
        with lab.nginx("nginx-answers-cached", mend=mend) as nginx:
            assert lab.user(nginx, "alice").seen["x-authz-user"] == "alice"
            assert lab.user(nginx, "bob").seen["x-authz-user"] == ("bob" if mend else "alice")


def test_client_asks_the_service(lab: Lab) -> None:
    """And is answered by it."""
    for mend in (False, True):
        with lab.nginx("nginx-check-reachable", mend=mend) as nginx:
            assert lab.user(nginx, path="/_authz").status == (404 if mend else 200)


def test_application_names_what_is_served(lab: Lab) -> None:
    """The internal location at which nginx asks."""
    with answering(200, b"mine", x_accel_redirect="/_authz") as port:
        for mend in (False, True):
            with lab.nginx("nginx-accel-redirect", mend=mend, application=port) as nginx:
                assert (lab.user(nginx).body == b"mine") is mend


def test_variables_that_are_not_inherited_are_empty(lab: Lab) -> None:
    """The application sees no user."""
    for mend in (False, True):
        with lab.nginx("nginx-variables-not-inherited", mend=mend) as nginx:
            assert lab.user(nginx).seen.get("x-authz-user") == ("alice" if mend else None)


def test_application_sees_another_host(lab: Lab) -> None:
    """By a request target that names the one, and a Host that names the other."""
    for mend in (False, True):
        with lab.nginx("nginx-host-differs", mend=mend) as nginx:
            context = lab.context("alice")
            with contextlib.closing(Connection(nginx.port, context, "globex.example.test")) as connection:
                answer = connection.get(f"http://{HOST}/", bearer(lab.stage, "alice"))
                assert answer.seen["x-authz-organization"] == "acme"
                assert answer.seen["host"] == (HOST if mend else "globex.example.test")


def test_headers_of_the_client_reach_the_service(lab: Lab) -> None:
    """All that nginx does not set."""
    for mend in (False, True):
        with lab.nginx("nginx-check-headers-passed", mend=mend, stranger=True) as nginx:
            lab.anonymous(nginx, "/", ("client-cert", "mine"))
            assert (("client-cert", "mine") in lab.stranger.asked[-1]) is not mend


def test_body_of_the_client_is_announced_to_the_service(lab: Lab) -> None:
    """Its length at least."""
    for mend in (False, True):
        with lab.nginx("nginx-check-body-passed", mend=mend, stranger=True) as nginx:
            with contextlib.closing(_https(lab, nginx.port)) as connection:
                connection.request("POST", "/", body=b"12345", headers={"host": HOST})
                connection.getresponse().read()
            assert (("content-length", "5") in lab.stranger.asked[-1]) is not mend


def _https(lab: Lab, port: int) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", port, context=lab.context(None), timeout=15)


def test_listener_without_tls_takes_tokens_in_the_clear(lab: Lab) -> None:
    """The service is asked about them; with TLS nginx takes none."""
    for rule, reached in (("nginx-listener-cleartext", True), ("shipped", False)):
        with lab.nginx(rule) as nginx:
            connection = http.client.HTTPConnection("127.0.0.1", nginx.ordinary_port, timeout=15)
            before = decisions(lab)
            with contextlib.closing(connection):
                connection.request("GET", "/", headers=dict([("host", HOST), *bearer(lab.stage, "olga")]))
                assert connection.getresponse().status == (403 if reached else 400)
            assert not reached or until(lambda before=before: decisions(lab) > before) is None


def test_name_in_the_handshake_chooses_whether_a_certificate_is_asked_for(lab: Lab) -> None:
    """Alice, who has one, is not asked where her client names the host; as shipped she is."""
    for rule, status in (("nginx-servers-differ", 403), ("shipped", 200)):
        with lab.nginx(rule) as nginx:
            context = lab.context("alice")
            context.check_hostname = False
            connection = http.client.HTTPSConnection("127.0.0.1", nginx.port, context=context, timeout=15)
            plain = socket.create_connection(("127.0.0.1", nginx.port))
            connection.sock = context.wrap_socket(plain, server_hostname=HOST)
            with contextlib.closing(connection):
                connection.request("GET", "/", headers=dict([("host", HOST), *bearer(lab.stage, "alice")]))
                assert connection.getresponse().status == status


@pytest.mark.parametrize("rule", ["nginx-session-cache", "nginx-session-tickets"])
def test_session_is_resumed(lab: Lab, rule: str) -> None:
    """Mended it is not."""
    for mend in (False, True):
        with lab.nginx(rule, mend=mend) as nginx:
            context = lab.context("alice")
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with contextlib.closing(Connection(nginx.port, context, HOST)) as first:
                assert first.get(headers=bearer(lab.stage, "alice")).status == 200
                session = first.tls.session
            with contextlib.closing(Connection(nginx.port, context, HOST, session=session)) as second:
                assert second.tls.session_reused is not mend


def test_early_data_is_taken(lab: Lab, openssl: str, tmp_path: Path) -> None:
    """By the word of openssl; mended it is not."""
    request = tmp_path / "request"
    request.write_bytes(f"GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n".encode())
    for mend in (False, True):
        with lab.nginx("nginx-early-data", mend=mend) as nginx:
            session = tmp_path / f"session-{mend}"
            call = [openssl, "s_client", "-connect", f"127.0.0.1:{nginx.port}", "-tls1_3", "-ign_eof"]
            for words in (("-sess_out", str(session)), ("-sess_in", str(session), "-early_data", str(request))):
                if words[0] == "-sess_in" and not session.exists():
                    continue
                sent = request.read_bytes() if words[0] == "-sess_out" else b""
                done = subprocess.run([*call, *words], input=sent, capture_output=True, check=False, timeout=30)
            assert (b"Early data was accepted" in done.stdout) is not mend
