"""The service stopped, paused, or gone: 503, and the application is never reached."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.clients import Dial, bearer, paused, stopped, until_allowed
from support.command_world import authz
from support.directory import DirectoryStore
from support.second_envoy import SecondEnvoy

from authz.demo import Stage
from authz.demo.client import ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import envoy_binary, envoy_config, running
from authz.pki import Certificate
from authz.reasons import Reason
from authz.service import ServiceLimits

pytestmark = pytest.mark.envoy


def status(stage: Stage, dial: Dial) -> int:
    """The answer to alice, who is allowed while all is well."""
    return dial(stage, "alice").get(headers=bearer(stage, "alice")).status


def test_service_stopped_is_503_and_recovers(restored_stage: Stage, dial: Dial) -> None:
    """No request passes while no service decides; a new service takes the socket over."""
    before = restored_stage.application.requests
    with stopped(restored_stage):
        assert status(restored_stage, dial) == 503
        assert restored_stage.application.requests == before
    until_allowed(restored_stage, "alice")


def test_service_killed_leaves_a_socket_that_the_next_takes_over(restored_stage: Stage, dial: Dial) -> None:
    """A socket file without a listener is no obstacle."""
    process = restored_stage.service.process
    assert process is not None
    process.kill()
    process.wait()
    with stopped(restored_stage):
        assert restored_stage.world.socket.exists()
        assert status(restored_stage, dial) == 503
    until_allowed(restored_stage, "alice")


def test_service_paused_is_503(restored_stage: Stage, dial: Dial) -> None:
    """A service that hangs is not waited for, and not guessed for."""
    before = restored_stage.application.requests
    with paused(restored_stage):
        assert status(restored_stage, dial) == 503
        assert restored_stage.application.requests == before


ANSWERS = {
    "closes without a word": b"",
    "says garbage": b"\x16\x03\x01 200 OK\r\n\r\n",
    "ends within its headers": b"HTTP/1.1 200 OK\r\nx-authz-user: al",
    "ends within its body": b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx",
    "fails": b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
    "hangs": None,
    "drips": b"HTTP/1.1 200 OK\r\n",
}

ALLOWED = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
UNDECIDED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Ailing(socketserver.ThreadingUnixStreamServer):
    """Stands where the service should, and answers with what is left in `before`, then with `answer`.

    None and an open end never end.
    """

    daemon_threads = True
    answer: bytes | None = b""
    open_end = False

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Ailing)
        self.gone = threading.Event()
        self.asked: list[bytes] = []
        self.before: list[bytes] = []


class _Ailing(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Ailing)
        asked = list(iter(self.rfile.readline, b"\r\n"))
        if asked and server.answer is not None:
            server.asked = asked
            self.wfile.write(server.before.pop() if server.before else server.answer)
        if server.answer is None or server.open_end:
            server.gone.wait(30)


@pytest.fixture(scope="module")
def ailing(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SecondEnvoy, Ailing]]:
    """An Envoy that asks somebody else than the service."""
    folder = tmp_path_factory.mktemp("ailing")
    with Ailing(folder / "authz.sock") as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        proxy = SecondEnvoy(stage, folder, socket=folder / "authz.sock")
        with running(proxy):
            yield proxy, server
        server.gone.set()
        server.shutdown()


@pytest.mark.parametrize("how", list(ANSWERS))
def test_service_that_crashes_within_a_check_is_503(stage: Stage, ailing: tuple[SecondEnvoy, Ailing], how: str) -> None:
    """Whatever is not wholly an answer is invalid, and the application never hears of the request."""
    proxy, server = ailing
    server.answer, server.open_end = ANSWERS[how], how == "drips"
    context = client_context(stage.world.folder / "roots.pem", stage.world.folder / "alice.pem")
    before = stage.application.requests
    assert ask(proxy.port, context, HOST, bearer(stage, "alice")).status == 503
    assert stage.application.requests == before


def test_service_that_allows_is_believed_there(stage: Stage, ailing: tuple[SecondEnvoy, Ailing]) -> None:
    """The refusals above are of what it says, and of nothing else."""
    proxy, server = ailing
    server.answer, server.open_end = ALLOWED, False
    context = client_context(stage.world.folder / "roots.pem", stage.world.folder / "alice.pem")
    assert ask(proxy.port, context, HOST, bearer(stage, "alice")).status == 200


@pytest.mark.parametrize(
    ("first", "expected"), [([UNDECIDED] * 3, 200), ([UNDECIDED] * 4, 503), ([FORBIDDEN], 403), ([], 200)]
)
def test_check_that_was_not_decided_is_asked_again_and_a_refusal_is_not(
    stage: Stage, ailing: tuple[SecondEnvoy, Ailing], first: list[bytes], expected: int
) -> None:
    """A worker that has just started may not get to its rows in time, where another has them."""
    proxy, server = ailing
    server.answer, server.open_end, server.before = ALLOWED, False, list(first)
    context = client_context(stage.world.folder / "roots.pem", stage.world.folder / "alice.pem")
    assert ask(proxy.port, context, HOST, bearer(stage, "alice")).status == expected
    assert server.before == []


def test_each_try_may_take_longer_than_the_service_lets_a_check_wait(
    stage: Stage, ailing: tuple[SecondEnvoy, Ailing]
) -> None:
    """Or a check that waits for a CRL at first sight were cut off; Envoy states it to whichever service it asks."""
    proxy, server = ailing
    server.answer, server.open_end = FORBIDDEN, False
    context = client_context(stage.world.folder / "roots.pem", stage.world.folder / "alice.pem")
    assert ask(proxy.port, context, HOST, bearer(stage, "alice")).status == 403
    (told,) = (line for line in server.asked if line.startswith(b"x-envoy-expected-rq-timeout-ms:"))
    assert int(told.split(b":")[1]) > 1_000 * ServiceLimits().seconds


def test_directory_gone_is_503_and_recovers(restored_stage: Stage, dial: Dial) -> None:
    """A directory that cannot be confirmed for two seconds decides nothing, until it is back."""
    file = restored_stage.world.folder / "authz.db"
    hidden = file.with_suffix(".away")
    assert status(restored_stage, dial) == 200
    file.rename(hidden)
    try:
        wait_for(restored_stage, dial, 503)
    finally:
        hidden.rename(file)
    wait_for(restored_stage, dial, 200)


def wait_for(stage: Stage, dial: Dial, expected: int) -> None:
    """Ask until the answer is the expected one; any other but 200 and 503 fails."""
    for _ in range(2_000):
        answer = status(stage, dial)
        assert answer in {200, 503}
        if answer == expected:
            return
    pytest.fail(f"{expected} does not come")


def test_second_service_at_one_socket_refuses_to_start(stage: Stage, tmp_path: Path) -> None:
    """A live socket is not stolen."""
    other = {"AUTHZ_OPS__ADDRESS": "127.0.0.1:0", "AUTHZ_CRL__FOLDER": str(tmp_path / "crls")}
    command = stage.service.command
    done = subprocess.run(command, env={**os.environ, **other}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "another process listens at" in done.stderr


def test_socket_is_closed_to_everybody_else(stage: Stage) -> None:
    """A process that can connect can claim any certificate: owner and group, no other user."""
    assert stage.world.socket.stat().st_mode & 0o777 == 0o660


def test_shipped_configuration_validates(stage: Stage) -> None:
    """Envoy itself finds nothing wrong with deploy/envoy.yaml."""
    path = stage.world.folder / "validated.yaml"
    path.write_text(envoy_config(stage.world.folder, stage.world.socket, 1, 2, 3))
    command = [str(envoy_binary()), "--mode", "validate", "--use-dynamic-base-id", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr


def test_cleartext_is_no_way_in(stage: Stage) -> None:
    """The listener speaks TLS and nothing else."""
    with socket.create_connection(("127.0.0.1", stage.envoy.port), 15) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: acme.example.test\r\nx-forwarded-client-cert: x\r\n\r\n")
        assert b"HTTP" not in plain.recv(65536)


@contextlib.contextmanager
def trusted(stage: Stage, name: str) -> Iterator[None]:
    """A further anchor, which everybody has, is added and exported, and taken back in the end."""
    anchor = Certificate.parse(stage.world.authorities[name].certificate.public_bytes(Encoding.DER))
    export = ("anchor", "export", "--sds", str(stage.world.folder / "client-ca.yaml"))
    with contextlib.closing(DirectoryStore(stage.world.database)) as store, pytest.MonkeyPatch.context() as patched:
        patched.setenv("AUTHZ_DATABASE", stage.world.database)
        store.add_anchors(None, [anchor])
        assert authz(*export).code == 0
        yield
        store.remove_anchor(None, anchor.sha256)
        assert authz(*export).code == 0


def test_anchors_exported_again_are_taken_by_the_running_proxy(restored_stage: Stage, dial: Dial) -> None:
    """A foreign root added and exported: the handshake succeeds without a restart, and the service decides."""
    headers = bearer(restored_stage, "olga")
    with pytest.raises(OSError, match=r"alert|EOF|reset"):
        dial(restored_stage, "foreign").get(headers=headers)
    with trusted(restored_stage, "foreign"):
        for _ in range(2_000):
            try:
                answer = dial(restored_stage, "foreign").get(headers=headers)
            except OSError:
                continue
            assert answer.status == 403
            assert restored_stage.reason(answer) == Reason.REVOCATION_UNKNOWN
            return
        pytest.fail("the new anchors are never taken")
