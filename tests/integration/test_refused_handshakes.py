"""Envoy's listener logs each handshake that it refuses: the cause, the subject and the SHA-256, and nothing else."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from support.clients import bearer
from support.second_envoy import SecondEnvoy

from authz.demo import Stage
from authz.demo.client import ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import START_SECONDS, running

pytestmark = pytest.mark.envoy


class Logged:
    """An Envoy whose access log is in a file, because the demonstration drops its output."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self._log, self._read = stage, folder / "handshakes.log", 0
        self.envoy = SecondEnvoy(stage, folder, change=self._into_file)

    def _into_file(self, config: Any) -> None:
        (access_log,) = config["static_resources"]["listeners"][0]["access_log"]
        logger = access_log["typed_config"]
        logger["@type"] = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
        logger["path"] = str(self._log)

    def ask(self, certificate: str | None) -> None:
        """One request, or one handshake that fails."""
        folder = self.stage.world.folder
        context = client_context(folder / "roots.pem", certificate and folder / f"{certificate}.pem")
        ask(self.envoy.port, context, HOST, bearer(self.stage, "alice"))

    def line(self) -> dict[str, str]:
        """The next line."""
        deadline = time.monotonic() + START_SECONDS
        while len(lines := self._log.read_text(encoding="utf-8").splitlines()) <= self._read:
            assert time.monotonic() < deadline, "nothing was logged"
            time.sleep(0.05)
        self._read += 1
        return dict(json.loads(lines[self._read - 1]))


@pytest.fixture(scope="module")
def logged(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    """The shipped listener, whose access log can be read."""
    made = Logged(stage, tmp_path_factory.mktemp("logged"))
    with running(made.envoy):
        yield made


@pytest.mark.parametrize(
    ("certificate", "cause"),
    [("expired", "certificate_has_expired"), ("self-signed", "unable_to_get_local_issuer_certificate")],
)
def test_refused_handshake_is_logged_with_its_cause(logged: Logged, certificate: str, cause: str) -> None:
    """What goes on before and after it without a failure is not logged."""
    for served in ("alice", None, certificate, "bob"):
        logged.ask(served)
    line = logged.line()
    presented = logged.stage.world.clients[certificate].certificate
    assert line["event"] == "handshake_refused"
    assert cause in line["reason"]
    assert line["subject"] == presented.subject.rfc4514_string()
    assert line["certificate"] == presented.fingerprint(SHA256()).hex()
    assert line["remote"] == "127.0.0.1"


def test_client_that_speaks_no_tls_is_logged(logged: Logged) -> None:
    """Without a certificate there is a reason alone."""
    with socket.create_connection(("127.0.0.1", logged.envoy.port), 15) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        plain.recv(1024)
    line = logged.line()
    assert "HTTP_REQUEST" in line["reason"]
    assert line["certificate"] is None
