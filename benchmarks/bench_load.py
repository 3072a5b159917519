"""A steady load through Envoy and through nginx, one request of a hundred bad, in every way the demonstration knows.

`python benchmarks/bench_load.py [SECONDS] [RATE]`, 60 and 300 if nothing is said; `5 100` shows that it works.
Each proxy runs with its shipped configuration, first before `authz serve`, then before a null authorizer that allows
everything. Requests are due at fixed times, and a latency is counted from when its request was due, so that a stall
is in the latency of whoever waited for it. The exit code is 1 if one answer was wrong.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import multiprocessing
import ssl
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import uvloop
from aiohttp import web
from support.nginx_stage import Nginx, NginxStage, nginx_socket

from authz.demo import Stage
from authz.demo.client import ClientResponse, client_context
from authz.demo.mint import HOST
from authz.demo.processes import Envoy, running
from authz.demo.rows import Row
from authz.web.answer import IDENTITY_HEADERS
from authz.web.request_reader import MAX_FIELD_BYTES

CONNECTIONS = 32
"""That stay open; a request that is due while all are busy waits, and its wait counts."""

BAD_EACH = 100


@dataclass
class Outcome:
    """What came of one run: seconds of each good request, answers that were wrong, and the bad ones to be judged."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: list[tuple[Row, ClientResponse]] = field(default_factory=list)
    took: float = 0.0

    def at(self, share: float) -> float:
        """Milliseconds within which that share of the good requests was answered."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]

    @property
    def rate(self) -> float:
        """Requests a second, all of them."""
        return (len(self.seconds) + len(self.refused)) / self.took


Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Clients:
    """Alice's open connections, and everybody else's, each for one request."""

    def __init__(self, stage: Stage, port: int, outcome: Outcome) -> None:
        self._stage = stage
        self._port = port
        self._outcome = outcome
        folder = stage.world.folder
        self._context = client_context(folder / "roots.pem", folder / "alice.pem")
        head = f"GET /orders HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {stage.token('alice')}\r\n\r\n"
        self._request = head.encode()
        self._idle: asyncio.Queue[Pair] = asyncio.Queue()

    async def open(self) -> None:
        """All connections, before the clock starts."""
        for pair in await asyncio.gather(*(self._connect() for _ in range(CONNECTIONS))):
            self._idle.put_nowait(pair)

    async def _connect(self) -> Pair:
        return await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context, server_hostname="localhost")

    async def good(self, due: float, *, judged: bool) -> None:
        """One request that must be allowed; where it is `judged`, as alice's."""
        pair = await self._idle.get()
        try:
            status, body = await self._ask(*pair)
        except (OSError, EOFError, ssl.SSLError) as error:
            self._outcome.wrong.append(f"alice: {error!r}")
            pair = await self._connect()
        else:
            user = "alice" if judged else "x"
            if status != 200 or ["x-authz-user", user] not in json.loads(body)["headers"]:
                self._outcome.wrong.append(f"alice: {status}")
            self._outcome.seconds.append(time.perf_counter() - due)
        self._idle.put_nowait(pair)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        return int(head.split(b" ", 2)[1]), body

    async def bad(self, row: Row) -> None:
        """One request that must be refused; its answer is judged when the run is over."""
        answer = await asyncio.to_thread(self._stage.ask_only, row)
        self._outcome.refused.append((row, answer))

    def close(self) -> None:
        """Close what is open."""
        while not self._idle.empty():
            self._idle.get_nowait()[1].close()


async def run(stage: Stage, port: int, *, seconds: float, rate: int, judged: bool) -> Outcome:
    """The load, as long as it lasts."""
    outcome = Outcome()
    clients = Clients(stage, port, outcome)
    await clients.open()
    refused = itertools.cycle([row for row in stage.rows if row.expected != 200])
    started = time.perf_counter()
    asked = set()
    for number in range(int(seconds * rate)):
        due = started + number / rate
        await asyncio.sleep(due - time.perf_counter())
        bad = judged and number % BAD_EACH == BAD_EACH - 1
        asked.add(asyncio.create_task(clients.bad(next(refused)) if bad else clients.good(due, judged=judged)))
    await asyncio.gather(*asked)
    outcome.took = time.perf_counter() - started
    clients.close()
    # The reason is the service's log's, which may be behind.
    for row, answer in outcome.refused:
        if not row.holds(answer, stage.reason(answer)):
            outcome.wrong.append(f"{row.what}: {answer.status} {answer.alert} {stage.reason(answer)}")
    return outcome


async def _null(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(headers=dict.fromkeys(IDENTITY_HEADERS, "x"))


async def _serve(path: str, pipe: multiprocessing.connection.Connection) -> None:
    server = web.Server(_null, max_field_size=MAX_FIELD_BYTES, access_log=None)
    await asyncio.get_running_loop().create_unix_server(server, path)
    pipe.send("ready")
    await asyncio.Event().wait()


def _authorizer(path: str, pipe: multiprocessing.connection.Connection) -> None:
    uvloop.run(_serve(path, pipe))


def null_authorizer(socket: Path) -> multiprocessing.Process:
    """It answers at `socket` when this returns."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_authorizer, args=(str(socket), there), daemon=True)
    process.start()
    if here.recv() != "ready":
        raise RuntimeError("the null authorizer does not start")
    return process


def before_null(stage: Stage, proxy: object, folder: Path) -> Envoy | Nginx:
    """The same proxy with the same files, before a null authorizer."""
    for name in ("server.pem", "server.key", "client-ca.yaml", "jwks.json"):
        (folder / name).write_bytes((stage.world.folder / name).read_bytes())
    if isinstance(proxy, Envoy):
        return Envoy(folder, folder / "null.sock", application=stage.application.port)
    world = replace(stage.world, folder=folder)
    nginx_socket(world).symlink_to(folder / "null.sock")
    return Nginx(world, application=stage.application.port)


def measure(name: str, stage: Stage, *, seconds: float, rate: int) -> bool:
    """Print both runs; whether every answer was right."""
    folder = stage.world.folder / "null"
    folder.mkdir()
    null = null_authorizer(folder / "null.sock")
    other = before_null(stage, stage.proxy, folder)
    with running(stage.application, stage.service, stage.proxy, other):
        uvloop.run(run(stage, stage.proxy.port, seconds=1, rate=rate, judged=True))
        real = uvloop.run(run(stage, stage.proxy.port, seconds=seconds, rate=rate, judged=True))
        nothing = uvloop.run(run(stage, other.port, seconds=seconds, rate=rate, judged=False))
    null.kill()
    kinds = len({row.what for row, _ in real.refused})
    print(
        f"{name}: {len(real.seconds)} good and {len(real.refused)} bad requests of {kinds} kinds in {real.took:.1f} s"
    )
    for what, one in (("service", real), ("null authorizer", nothing)):
        print(f"  {what:16} {one.rate:7.1f} /s   p50 {one.at(0.5):7.2f} ms   p99 {one.at(0.99):7.2f} ms")
    ratios = (real.at(share) / nothing.at(share) for share in (0.5, 0.99))
    print("  {:16} p50 {:.2f} x   p99 {:.2f} x   wrong answers: {}".format("ratio", *ratios, len(real.wrong)))
    for told in (real.wrong + nothing.wrong)[:10]:
        print(f"  wrong: {told}")
    return not real.wrong and not nothing.wrong


def main(seconds: int = 60, rate: int = 300) -> int:
    """Both proxies, one after the other; the exit code."""
    right = True
    for name, kind in (("Envoy", Stage), ("nginx", NginxStage)):
        with tempfile.TemporaryDirectory(prefix="bench-load-") as folder:
            right &= measure(name, kind(Path(folder)), seconds=seconds, rate=rate)
    return 0 if right else 1


if __name__ == "__main__":
    said = dict(zip(("seconds", "rate"), map(int, sys.argv[1:3]), strict=False))
    sys.exit(main(**said))
