"""What a check costs behind a real Envoy and a real nginx: service and proxy, against a null authorizer there.

Two of each proxy run with the shipped configuration, one before `authz serve` with its log and metrics on, the other
before a null aiohttp handler that says 200 and nothing else; both are asked over a Unix socket. Real TLS clients with
alice's certificate take turns at them; CPU is that of the processes themselves, by the scheduler's account of
their threads, which is what rusage adds up.
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import uvloop
from bench_load import before_null, null_authorizer
from machine import Steal
from support.nginx_stage import NginxStage

from authz.demo import Stage
from authz.demo.client import client_context
from authz.demo.mint import HOST
from authz.demo.processes import running

ROUNDS = 5
REQUESTS = 3_000
CONNECTIONS = 4


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


def measure(name: str, stage: Stage) -> None:
    """Print the medians, and the least of each."""
    folder = stage.world.folder
    (folder / "null").mkdir()
    null = null_authorizer(folder / "null" / "null.sock")
    other = before_null(stage, stage.proxy, folder / "null")
    context = client_context(folder / "roots.pem", folder / "alice.pem")
    request = f"GET /orders HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {stage.token('alice')}\r\n\r\n".encode()
    used: dict[str, list[tuple[float, float]]] = {"service": [], "null": []}
    with running(stage.application, stage.service, stage.proxy, other):
        processes = {}
        for what, authorizer, proxy in (("service", stage.service.process, stage.proxy), ("null", null, other)):
            assert authorizer is not None
            assert authorizer.pid is not None
            assert proxy.process is not None
            processes[what] = (proxy.port, authorizer.pid, proxy.process.pid)
            uvloop.run(_load(proxy.port, context, request))
        for _ in range(ROUNDS):
            for what, (port, authorizer_id, proxy_id) in processes.items():
                before = cpu(authorizer_id), cpu(proxy_id)
                uvloop.run(_load(port, context, request))
                after = cpu(authorizer_id), cpu(proxy_id)
                used[what].append(((after[0] - before[0]) / REQUESTS, (after[1] - before[1]) / REQUESTS))
    null.kill()
    report(f"behind {name}", [one for one, _ in used["service"]], [one for one, _ in used["null"]])
    report(f"{name} and service", *(list(map(sum, used[what])) for what in ("service", "null")))


def report(what: str, service: list[float], null: list[float]) -> None:
    """One line: what the service takes, the null authorizer, and their ratios."""
    own, other = statistics.median(service), statistics.median(null)
    least = min(service) / min(null)
    print(f"{what:18} {own:7.1f} us of CPU, null {other:7.1f}  {own / other:5.2f} x  (least {least:.2f} x)")


if __name__ == "__main__":
    steal = Steal()
    for name, kind in (("Envoy", Stage), ("nginx", NginxStage)):
        with tempfile.TemporaryDirectory() as temporary:
            measure(name, kind(Path(temporary)))
    print(steal)
    sys.stdout.flush()
