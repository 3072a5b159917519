"""What a check costs behind a real Envoy: service and proxy, against a null authorizer behind the same proxy.

Two Envoys run with deploy/envoy.yaml, one before `authz serve` with its log and metrics on, the other before a
null aiohttp handler that says 200 and nothing else; both are asked over a Unix socket. Real TLS clients with
alice's certificate take turns at them; CPU is that of the processes themselves, by the scheduler's account of
their threads, which is what rusage adds up.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import ssl
import statistics
import sys
import tempfile
from pathlib import Path

import uvloop
from aiohttp import web

from authz.demo import Stage
from authz.demo.client import client_context
from authz.demo.mint import HOST
from authz.demo.processes import Envoy, running
from authz.web.request_reader import MAX_FIELD_BYTES

ROUNDS = 5
REQUESTS = 3_000
CONNECTIONS = 4


async def _null(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


async def _serve(path: str, pipe: multiprocessing.connection.Connection) -> None:
    server = web.Server(_null, max_field_size=MAX_FIELD_BYTES, access_log=None)
    await asyncio.get_running_loop().create_unix_server(server, path)
    pipe.send("ready")
    await asyncio.Event().wait()


def _authorizer(path: str, pipe: multiprocessing.connection.Connection) -> None:
    uvloop.run(_serve(path, pipe))


def cpu(process: int) -> float:
    """Microseconds of CPU that a process, its threads and its children have used: a service is several processes."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    tasks = (task for one in (process, *children) for task in Path(f"/proc/{one}/task").glob("*/schedstat"))
    return sum(int(one.read_text(encoding="ascii").split()[0]) for one in tasks) / 1e3


async def _client(port: int, context: ssl.SSLContext, request: bytes, times: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    for _ in range(times):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head[:80].decode("latin-1"))
        await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
    writer.close()


async def _load(port: int, context: ssl.SSLContext, request: bytes) -> None:
    await asyncio.gather(*(_client(port, context, request, REQUESTS // CONNECTIONS) for _ in range(CONNECTIONS)))


def measure(folder: Path) -> None:
    """Print the medians."""
    stage = Stage(folder)
    socket = folder / "null.sock"
    here, there = multiprocessing.Pipe()
    null = multiprocessing.Process(target=_authorizer, args=(str(socket), there), daemon=True)
    null.start()
    assert here.recv() == "ready"
    other = folder / "null"
    other.mkdir()
    for name in ("server.pem", "server.key", "client-ca.yaml", "jwks.json"):
        (other / name).write_bytes((folder / name).read_bytes())
    envoy = Envoy(other, socket, application=stage.application.port)
    context = client_context(folder / "roots.pem", folder / "alice.pem")
    request = f"GET /orders HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {stage.token('alice')}\r\n\r\n".encode()
    used: dict[str, list[tuple[float, float]]] = {"real": [], "null": []}
    with running(stage.application, stage.service, stage.envoy, envoy):
        processes = {}
        for name, authorizer, proxy in (("real", stage.service.process, stage.envoy), ("null", null, envoy)):
            assert authorizer is not None
            assert authorizer.pid is not None
            assert proxy.process is not None
            processes[name] = (proxy.port, authorizer.pid, proxy.process.pid)
            uvloop.run(_load(proxy.port, context, request))
        for _ in range(ROUNDS):
            for name, (port, authorizer_id, proxy_id) in processes.items():
                before = cpu(authorizer_id), cpu(proxy_id)
                uvloop.run(_load(port, context, request))
                after = cpu(authorizer_id), cpu(proxy_id)
                used[name].append(((after[0] - before[0]) / REQUESTS, (after[1] - before[1]) / REQUESTS))
    null.kill()
    service, nothing = (statistics.median(one for one, _ in used[name]) for name in ("real", "null"))
    together = {name: statistics.median(a + b for a, b in used[name]) for name in used}
    print(f"behind Envoy, Unix socket: null {nothing:7.1f} us of CPU")
    print(f"                        service {service:7.1f} us of CPU  {service / nothing:5.2f} x")
    ratio = together["real"] / together["null"]
    print(f"         Envoy and null handler {together['null']:7.1f} us of CPU")
    print(f"              Envoy and service {together['real']:7.1f} us of CPU  {ratio:5.2f} x")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        measure(Path(temporary))
    sys.stdout.flush()
