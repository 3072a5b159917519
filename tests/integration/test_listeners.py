"""Envoy and nginx before one service: neither's header counts at the other's listener."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from support.clients import bearer
from support.nginx_stage import NginxStage, nginx_socket

from authz.demo.client import ClientResponse, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import running
from authz.headers import escaped_pem, present

pytestmark = [pytest.mark.envoy, pytest.mark.nginx]


@pytest.fixture(scope="module")
def stage(envoy: None, nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxStage]:
    """Both proxies before one service, with the settings of docs/nginx.md."""
    made = NginxStage(tmp_path_factory.mktemp("listeners"))
    with running(made.application, made.service, made.nginx, made.envoy):
        yield made


def through(
    stage: NginxStage, proxy: str, certificate: str | None, *headers: tuple[str, str]
) -> tuple[ClientResponse, dict[str, object]]:
    """The answer of one of the proxies to alice, and the service's line about it."""
    folder = stage.world.folder
    context = client_context(folder / "roots.pem", None if certificate is None else folder / f"{certificate}.pem")
    port = {"envoy": stage.envoy, "nginx": stage.nginx}[proxy].port
    answer = ask(port, context, HOST, [*bearer(stage, "alice"), *headers])
    decision_id = answer.headers.get("x-authz-decision-id") or answer.seen["x-authz-decision-id"]
    return answer, stage.service.decision(decision_id)


def of(stage: NginxStage, name: str) -> bytes:
    """The DER of somebody's certificate."""
    return stage.world.clients[name].certificate.public_bytes(Encoding.DER)


def envoys(stage: NginxStage, name: str) -> list[tuple[str, str]]:
    """What Envoy would hand over for somebody."""
    digest = stage.world.clients[name].certificate.fingerprint(SHA256()).hex()
    intermediates = [one.public_bytes(Encoding.DER) for one in stage.world.clients[name].chain]
    header = present(of(stage, name), intermediates).decode()
    return [("x-forwarded-client-cert", header), ("x-authz-peer", f"sha256={digest}")]


def nginxs(stage: NginxStage, name: str) -> list[tuple[str, str]]:
    """What nginx would hand over for somebody."""
    return [("x-ssl-client-cert", escaped_pem.format((of(stage, name),)).decode()), ("x-authz-peer", "SUCCESS")]


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
@pytest.mark.parametrize(
    ("certificate", "reason"),
    [("alice", None), ("bob", "certificate_of_another_user"), (None, "certificate_required")],
)
def test_both_listeners_decide_alike(
    stage: NginxStage, proxy: str, certificate: str | None, reason: str | None
) -> None:
    """One decision, whichever proxy asks; the log names the listener."""
    answer, line = through(stage, proxy, certificate)
    assert answer.status == (200 if reason is None else 403)
    assert (line["listener"], line.get("reason")) == (proxy, reason)


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
@pytest.mark.parametrize("written", [envoys, nginxs])
@pytest.mark.parametrize("certificate", [None, "stranger", "bob"])
def test_either_proxys_headers_written_by_a_client_decide_nothing(
    stage: NginxStage, proxy: str, written: Callable[..., list[tuple[str, str]]], certificate: str | None
) -> None:
    """Through Envoy in nginx's words, through nginx in Envoy's, and each in its own."""
    answer, line = through(stage, proxy, certificate, *written(stage, "alice"))
    expected = {
        None: "certificate_required",
        "stranger": "certificate_not_registered",
        "bob": "certificate_of_another_user",
    }
    assert (answer.status, line["reason"]) == (403, expected[certificate])


async def asked(
    stage: NginxStage, listener: Path, path: str, headers: list[tuple[str, str]]
) -> tuple[int, dict[str, object]]:
    """The answer at a listener's own socket, as a proxy asks there, and the service's line about it."""
    reader, writer = await asyncio.open_unix_connection(str(listener))
    payload = stage.token("alice").split(".")[1]
    identity = [*bearer(stage, "alice"), ("x-authz-payload", payload)]
    lines = [f"GET {path} HTTP/1.1", f"host: {HOST}", "connection: close"]
    lines += [f"{key}: {value}" for key, value in (*identity, *headers)]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = (await reader.read()).decode()
    writer.close()
    decision_id = answer.lower().split("x-authz-decision-id: ")[1][:32]
    return int(answer.split()[1]), stage.service.decision(decision_id)


@pytest.mark.parametrize(
    ("listener", "written", "reason"),
    [
        ("envoy", [envoys], None),
        ("nginx", [nginxs], None),
        ("envoy", [nginxs], "header_unexpected"),
        ("nginx", [envoys], "header_unexpected"),
        ("envoy", [envoys, nginxs], "header_unexpected"),
        ("nginx", [nginxs, envoys], "header_unexpected"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/auth", "/v1/check/", "/v1/verify"])
async def test_header_counts_at_its_own_listener_only(
    stage: NginxStage,
    listener: str,
    written: list[Callable[..., list[tuple[str, str]]]],
    reason: str | None,
    path: str,
) -> None:
    """Even from a proxy: the listener decides what is read, not the path that is asked at."""
    socket = {"envoy": stage.world.socket, "nginx": nginx_socket(stage.world)}[listener]
    headers = dict([one for each in written for one in each(stage, "alice")])
    status, line = await asked(stage, socket, path, list(headers.items()))
    assert (status, line.get("reason")) == (200 if reason is None else 403, reason)


@pytest.mark.parametrize(("listener", "statement"), [("envoy", "NONE"), ("nginx", "sha256=")])
async def test_statement_counts_at_its_own_listener_only(stage: NginxStage, listener: str, statement: str) -> None:
    """In the other's words, silence is not "no certificate"."""
    socket = {"envoy": stage.world.socket, "nginx": nginx_socket(stage.world)}[listener]
    status, line = await asked(stage, socket, "/v1/auth", [("x-authz-peer", statement)])
    assert (status, line["reason"]) == (403, "proxy_statement_contradicts")
