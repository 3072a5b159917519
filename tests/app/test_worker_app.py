"""The service put together: it starts, answers, refuses to start blind, and stops without losing a check."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
import uvloop
from support.decision_world import Says
from support.directory import new_store
from support.proxy_tls import MESH, PROXY, client, proxy, server, write

from authz.app.config import Settings, parse_settings
from authz.app.crls import RefreshedCrls
from authz.app.listeners import Sockets
from authz.app.worker_app import WorkerApp
from authz.clock import SystemClock
from authz.decision import Decision, Deny, Evidence
from authz.errors import ConfigError, StoreError
from authz.model import CheckRequest
from authz.reasons import Reason
from authz.telemetry import Telemetry
from authz.view import Listener
from authz.web.checks import Checks, Endpoints

REFUSED = ("http", "https")
TLS = {"certificate": "/no.pem", "key": "/no.key", "client_ca": "/no.pem", "names": [PROXY]}


def settings(folder: Path, **changes: object) -> Settings:
    """A service on a Unix socket in `folder`, operators on any port."""
    values: dict[str, object] = {
        "database": f"sqlite:///{folder / 'authz.db'}",
        "listener": [{"address": f"unix:{folder / 's.sock'}"}],
        "ops": {"address": "127.0.0.1:0"},
        **changes,
    }
    return parse_settings(values, origin="test")


def worker(settings: Settings) -> WorkerApp:
    """What the supervisor does before a worker starts, and the worker. Its CRLs are kept in this process."""
    telemetry = Telemetry(BytesIO())
    sockets = Sockets.open(settings)
    try:
        new_store(settings.database).close()
        return WorkerApp(settings, telemetry, sockets, RefreshedCrls(settings, SystemClock(), telemetry))
    except BaseException:
        sockets.close()
        raise


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[WorkerApp]:
    """A running service over an empty directory."""
    made = worker(settings(tmp_path))
    await made.start()
    yield made
    await made.stop()


async def get(path: str, *, unix: Path | None = None, address: str = "x") -> int:
    """The status of a GET."""
    connector = None if unix is None else aiohttp.UnixConnector(str(unix))
    async with aiohttp.ClientSession(connector=connector) as client, client.get(f"http://{address}{path}") as answer:
        return answer.status


async def test_service_answers_checks(runtime: WorkerApp, tmp_path: Path) -> None:
    """No user is known in an empty directory, and the service is ready all the same."""
    assert await get("/v1/check/", unix=tmp_path / "s.sock") == 403
    assert runtime.ready


async def test_stopped_worker_listens_no_more(tmp_path: Path) -> None:
    """And is not ready; the socket's file is the supervisor's to remove."""
    made = worker(settings(tmp_path))
    await made.start()
    await made.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await get("/v1/check/", unix=tmp_path / "s.sock")
    assert not made.ready


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"database": "sqlite:////no/such/folder/a.db"}, ConfigError),
        ({"listener": [{"address": "0.0.0.0:1"}]}, ConfigError),
        ({"ops": {"address": "0.0.0.0:1"}}, ConfigError),
        ({"listener": [{"address": "unix:/no/such/folder/s.sock"}]}, ConfigError),
        ({"listener": [{"address": "0.0.0.0:0"}]}, ConfigError),
        ({"listener": [{"address": "127.0.0.1:0", "tls": TLS}]}, ConfigError),
    ],
)
async def test_service_that_cannot_be_set_up_does_not_start(
    tmp_path: Path, changes: dict[str, object], error: type[Exception]
) -> None:
    """And leaves nothing open."""
    with pytest.raises(error):
        await worker(settings(tmp_path, **changes)).start()
    assert not (tmp_path / "s.sock").exists()


async def test_listener_with_tls_refuses_clients_without_it(tmp_path: Path) -> None:
    """Neither in plain text nor without a certificate; the metrics tell."""
    write(tmp_path, "server", server())
    write(tmp_path, "ca", MESH)
    write(tmp_path, "proxy", proxy())
    files = {key: str(tmp_path / name) for key, name in (("certificate", "server.pem"), ("key", "server.key"))}
    tls = {**files, "client_ca": str(tmp_path / "ca.pem"), "names": [PROXY]}
    made = worker(settings(tmp_path, listener=[{"address": "0.0.0.0:0", "tls": tls}]))
    await made.start()
    url = f"://127.0.0.1:{made._sockets['envoy'].socket.getsockname()[1]}/v1/check/"
    async with aiohttp.ClientSession() as session:
        for scheme in REFUSED:
            with pytest.raises(aiohttp.ClientError):
                await session.get(scheme + url, ssl=client(tmp_path, None))
        async with session.get("https" + url, ssl=client(tmp_path, "proxy")) as answer:
            assert answer.status == 403
    await made.stop()
    # The client tries again by itself.
    refused = made.telemetry.registry.get_sample_value("authz_proxies_refused_total", {"listener": "envoy"})
    assert refused is not None
    assert refused >= len(REFUSED)


def test_backlog_is_the_one_set(tmp_path: Path) -> None:
    """On the loop that serves, which has a mind of its own; tcpi_sacked of a listening socket, as Linux has it."""

    async def backlog() -> int:
        made = worker(settings(tmp_path, listener=[{"address": "127.0.0.1:0", "backlog": 77}]))
        await made.start()
        told = made._sockets["envoy"].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        await made.stop()
        return int.from_bytes(told[28:32], sys.byteorder)

    assert uvloop.run(backlog()) == 77


async def test_directory_that_is_no_database_refuses_to_start(tmp_path: Path) -> None:
    """Rather than to deny everybody."""
    (tmp_path / "authz.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(StoreError):
        await worker(settings(tmp_path)).start()


async def test_check_in_flight_is_finished_when_the_service_stops(tmp_path: Path) -> None:
    """Stop accepting, answer what was asked, then end."""
    made = worker(settings(tmp_path))
    await made.start()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(_check: CheckRequest, _listener: Listener) -> Decision:
        asked.set()
        await answer.wait()
        return Deny(Reason.USER_UNKNOWN, "", Evidence())

    handler = Checks(slow, Listener("slow", (Says("x"),)), Endpoints(), refuse=print)
    with socket.create_server(("127.0.0.1", 0)) as opened:
        await made._listeners.serve(opened, handler, handler.unread, backlog=1)
        address = "{}:{}".format(*opened.getsockname())
    waiting = asyncio.create_task(get("/v1/check/", address=address))
    await asked.wait()
    stopping = asyncio.create_task(made.stop())
    await asyncio.sleep(0)
    assert not made.ready
    answer.set()
    assert await waiting == 403
    await stopping
