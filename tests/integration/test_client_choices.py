"""What a client chooses beside its token and certificate decides nothing, through both proxies.

Where a proxy itself refuses, its answer stands: it has no decision id, and the service was not asked. Each proxy runs
as shipped, and passing on to the service every header that the client sends.
"""

from __future__ import annotations

import contextlib
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

REFUSED = ("bob", "alice", 403)
WHO = [("alice", "alice", 200), REFUSED]
"""Certificate, user, and the service's answer."""


def pass_all_on(config: Any) -> None:
    """Send every header of the client to the service."""
    check = connection_manager(config)["http_filters"][1]["typed_config"]
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


def asked(stage: Stage, who: tuple[str, str, int], headers: list[tuple[str, str]], method: str = "GET") -> str:
    """What is wrong with the answer to a request; empty if nothing is."""
    certificate, user, expected = who
    folder = stage.world.folder
    context = client_context(folder / "roots.pem", folder / f"{certificate}.pem")
    with contextlib.closing(Connection(stage.proxy.port, context, HOST)) as connection:
        answer = connection.get(headers=[*bearer(stage, user), *headers], method=method)
    if answer.status == expected and (method == "HEAD" or answer.seen.get("x-authz-user", "") in {"", user}):
        return ""
    if answer.status in OWN and not answer.headers.get("x-authz-decision-id"):
        return ""
    return f"{method} {headers[:1]}: {answer.status}, {stage.reason(answer)}"


@pytest.mark.parametrize("value", ['odd; "=,%', "\xff\xfe", "", "0"])
@pytest.mark.parametrize("who", WHO, ids=["allowed", "refused"])
def test_header_with_an_odd_value_decides_nothing(stage: Stage, who: tuple[str, str, int], value: str) -> None:
    """Every registered header."""
    assert [wrong for name in FIELDS if (wrong := asked(stage, who, [(name, value)]))] == []


@pytest.mark.parametrize("who", WHO, ids=["allowed", "refused"])
def test_header_that_comes_twice_decides_nothing(stage: Stage, who: tuple[str, str, int]) -> None:
    """Also those that must be single, such as Content-Type."""
    assert [wrong for name in FIELDS if (wrong := asked(stage, who, [(name, "a"), (name, "b")]))] == []


@pytest.mark.parametrize("who", WHO, ids=["allowed", "refused"])
@pytest.mark.parametrize("coding", ["zstd", "br", "gzip", "deflate", "compress", "x"])
def test_content_encoding_decides_nothing(stage: Stage, who: tuple[str, str, int], coding: str) -> None:
    """Whether or not something can decode it."""
    assert asked(stage, who, [("content-encoding", coding), ("content-length", "0")], "POST") == ""


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("who", WHO, ids=["allowed", "refused"])
def test_method_decides_nothing(stage: Stage, curl: str, who: tuple[str, str, int], version: str) -> None:
    """Every registered method, and others; HTTP/2 carries what a proxy does not know."""
    certificate, user, expected = who
    folder: Path = stage.world.folder
    key, value = bearer(stage, user)[0]
    url = f"https://localhost:{stage.proxy.port}/"
    common = [curl, "-sS", "-o", "/dev/null", "-D", "-", version, "--cacert", folder / "roots.pem", "--max-time", "10"]
    common += ["--cert", folder / f"{certificate}.pem", "--key", folder / f"{certificate}.key"]
    common += ["-H", f"host: {HOST}", "-H", f"{key}: {value}"]
    wrong = []
    for method in (*METHODS, "CCM_POST", "RPC_IN_DATA", "get", "Head", "x!"):
        options = ["-I"] if method == "HEAD" else ["-X", method]
        head = subprocess.run([*common, *options, url], capture_output=True, text=True, check=False).stdout.lower()
        status = int((head.split() or ["", "0"])[1])
        if status != expected and (status not in OWN or "x-authz-decision-id: " in head):
            wrong.append((method, status))
    # The tunnel of CONNECT is HTTP's own; curl speaks it with proxies only.
    assert [pair for pair in wrong if pair[0] != "CONNECT"] == []
