"""What a client chooses beside its token and certificate decides nothing, through both proxies.

Where a proxy itself refuses, its answer stands: it has no decision id, and the service was not asked. Each proxy runs
as shipped, and passing on to the service every header that the client sends.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clients import bearer
from support.nginx_stage import NginxStage
from support.registered import FIELDS, METHODS
from support.second_envoy import SecondEnvoy, connection_manager

from authz.demo import Stage
from authz.demo.client import Connection, client_context
from authz.demo.mint import HOST
from authz.demo.processes import running

pytestmark = [pytest.mark.envoy, pytest.mark.nginx]

OWN = {400, 403, 404, 405, 408, 411, 413, 417, 421, 426, 431, 501}
"""Statuses with which a proxy itself refuses a request."""


def pass_all_on(config: Any) -> None:
    """Send every header of the client to the service."""
    filters = connection_manager(config)["http_filters"]
    check = next(each["typed_config"] for each in filters if each["name"] == "envoy.filters.http.ext_authz")
    check["allowed_headers"] = {"patterns": [{"safe_regex": {"regex": ".*"}}]}
    del check["disallowed_headers"]


@pytest.fixture(scope="module", params=["envoy", "nginx", "envoy passing all on", "nginx passing all on"])
def stage(
    request: pytest.FixtureRequest, envoy: None, nginx: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """The demonstration's world, behind one of the proxies."""
    through = str(request.param)
    made = (Stage if through.startswith("envoy") else NginxStage)(tmp_path_factory.mktemp("choices"))
    if through == "envoy passing all on":
        made.proxy = SecondEnvoy(made, tmp_path_factory.mktemp("envoy"), change=pass_all_on)
    elif through == "nginx passing all on":
        made = made.beside({"proxy_pass_request_headers off;": ""})  # type: ignore[attr-defined]
    with running(made.application, made.service, made.proxy):
        yield made


class Asker:
    """Asks as one user with one certificate, on a connection that is kept while its proxy keeps it."""

    def __init__(self, stage: Stage, certificate: str, user: str, expected: int) -> None:
        self.stage, self.user, self.expected = stage, user, expected
        folder = stage.world.folder
        self.files = folder / f"{certificate}.pem", folder / f"{certificate}.key", folder / "roots.pem"
        self._context = client_context(folder / "roots.pem", self.files[0])
        self._connection: Connection | None = None

    def wrong(self, *headers: tuple[str, str], method: str = "GET") -> str:
        """What is wrong with the answer to a request; empty if nothing is."""
        self._connection = self._connection or Connection(self.stage.proxy.port, self._context, HOST)
        answer = self._connection.get(headers=[*bearer(self.stage, self.user), *headers], method=method)
        if answer.status != self.expected or answer.headers.get("connection") == "close":
            self.close()
        if answer.status == self.expected and answer.seen.get("x-authz-user", self.user) == self.user:
            return ""
        own = answer.status in OWN and not answer.headers.get("x-authz-decision-id")
        return "" if own else f"{method} {headers[:1]}: {answer.status}, {self.stage.reason(answer)}"

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@pytest.fixture(params=[("alice", "alice", 200), ("bob", "alice", 403)], ids=["allowed", "refused"])
def asker(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Asker]:
    """One whose every request is allowed, and one whose every request is refused."""
    made = Asker(stage, *request.param)
    yield made
    made.close()


@pytest.mark.parametrize("values", [['odd; "=,%\xff'], [""], ["a", "b"]], ids=["odd", "empty", "twice"])
def test_registered_header_decides_nothing(asker: Asker, values: list[str]) -> None:
    """Whatever its value, and also where it must be single, as Content-Type must."""
    before = len(asker.stage.service.log)
    assert [wrong for name in FIELDS if (wrong := asker.wrong(*((name, value) for value in values)))] == []
    assert len(asker.stage.service.log) - before > 0.9 * len(FIELDS), "the service was hardly asked"


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip", "x"])
def test_content_encoding_decides_nothing(asker: Asker, coding: str) -> None:
    """Whether or not something can decode it."""
    assert asker.wrong(("content-encoding", coding), ("content-length", "0"), method="POST") == ""


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_method_decides_nothing(asker: Asker, curl: str, version: str) -> None:
    """Every registered method, and others; HTTP/2 carries also what a proxy does not know."""
    ((key, value),) = bearer(asker.stage, asker.user)
    certificate, private, roots = asker.files
    common = ["-s", version, "--cert", certificate, "--key", private, "--cacert", roots, "-o", "/dev/null"]
    common += [
        "-H",
        f"host: {HOST}",
        "-H",
        f"{key}: {value}",
        "--max-time",
        "10",
        f"https://localhost:{asker.stage.proxy.port}/",
    ]
    # CONNECT is no method of a request to this URL (RFC 9110 section 9.3.6).
    methods = [*sorted({*METHODS} - {"CONNECT"}), "CCM_POST", "RPC_IN_DATA", "get", "Head", "x!"]
    words: list[str | Path] = [curl]
    for method in methods:
        written = method + " %{http_code} %header{x-authz-decision-id}\n"
        words += [*common, *(["-I"] if method == "HEAD" else ["-X", method]), "-w", written, "--next"]
    lines = subprocess.run(words[:-1], capture_output=True, text=True, check=False).stdout.splitlines()
    answers = [(line.split()[0], int(line.split()[1]), line.split()[2:]) for line in lines]
    assert [method for method, _, _ in answers] == methods
    assert [answer for answer in answers if answer[1] != asker.expected and (answer[1] not in OWN or answer[2])] == []
    decided = sum(status == asker.expected for _, status, _ in answers)
    assert decided > (0.6 if version == "--http1.1" else 0.9) * len(methods), answers
