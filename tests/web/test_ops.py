"""What operators read."""

from __future__ import annotations

import asyncio
from io import BytesIO

import aiohttp
import pytest
from support.metrics_text import metrics_of

from authz.telemetry import Telemetry
from authz.web.ops import Ops
from authz.web.server import Server


@pytest.mark.parametrize(
    ("method", "path", "ready", "status"),
    [
        ("GET", "/healthz", False, 200),
        ("GET", "/readyz", True, 200),
        ("GET", "/readyz", False, 503),
        ("GET", "/metrics", True, 200),
        ("HEAD", "/healthz", True, 200),
        ("GET", "/", True, 404),
        ("POST", "/healthz", True, 405),
    ],
)
async def test_ops_answer_as_orchestrators_expect(method: str, path: str, ready: bool, status: int) -> None:
    """Healthy is alive; ready is confirmed."""
    telemetry = Telemetry(BytesIO())
    ops = Ops(lambda: metrics_of(telemetry), lambda: ready, telemetry.warn)
    server = Server(ops, ops.unread)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as client, client.request(method, f"http://127.0.0.1:{port}{path}") as answer:
        assert answer.status == status
        if path == "/metrics":
            assert "authz_directory_confirmed 0.0" in await answer.text()
    listening.close()
    await server.shutdown(1)
