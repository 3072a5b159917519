"""What several workers cost and give: CPU per check against one process without a supervisor, in one run.

One process that answers alone, and `authz serve` with one, two and four workers, take turns at the same checks:
the demonstration's directory, a certificate that is known, log and metrics on, a Unix socket. CPU is that of all
processes of a service, by the scheduler's own account.

Then ten minutes (`SOAK=600`; 20 seconds without) of mixed load on two workers: allowed and refused, known and new
certificates, unknown hosts and users, connections that come and go, and CRLs published meanwhile, once what workers
remember was filled. Memory and open descriptors of every process are told after a fifth of it, and at its end.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from support.directory import DirectoryStore

from authz.app.config import load_settings
from authz.app.crls import RefreshedCrls
from authz.app.listeners import Sockets
from authz.app.worker_app import WorkerApp
from authz.clock import SystemClock
from authz.demo.mint import HOST, Party
from authz.demo.processes import free_port
from authz.demo.world import World
from authz.supervision.metrics import usage
from authz.telemetry import Telemetry

ROUNDS = 5
REQUESTS = 6_000
CONNECTIONS = 16
UNKNOWN = 25_000
"""Hosts, and users: 20,000 rows of one kind are remembered."""

LEAVES = 16_000
"""Certificates: 4,096 are remembered, and 16,384 signatures, of which the load brings the last in its first minute."""

PATIENCE = 60.0
MIB = 1 << 20


def question(world: World, party: Party | None, user: str, host: str = HOST) -> bytes:
    """What Envoy asks about a user who shows a certificate, or none."""
    payload = world.token(user).split(".")[1]
    lines = ["GET /v1/check/ HTTP/1.1", f"host: {host}", f"x-authz-payload: {payload}"]
    if party is None:
        lines.append("x-authz-peer: sha256=")
    else:
        chain = [one.public_bytes(Encoding.PEM).decode() for one in (party.certificate, *party.chain)]
        fingerprint = party.certificate.fingerprint(hashes.SHA256()).hex()
        leaf, bag = quote(chain[0], safe="-"), quote("".join(chain), safe="-")
        lines.append(f'x-forwarded-client-cert: Hash={fingerprint};Cert="{leaf}";Chain="{bag}"')
        lines.append(f"x-authz-peer: sha256={fingerprint}")
    return "\r\n".join((*lines, "", "")).encode()


class Service:
    """A service on the world's directory, with a socket of its own; `workers` 0 is one process that answers alone."""

    def __init__(self, world: World, workers: int) -> None:
        name = f"w{workers}"
        self.socket = world.folder / f"{name}.sock"
        self.config = world.folder / f"{name}.toml"
        self.config.write_text(
            f'database = "{world.database}"\n[ops]\naddress = "127.0.0.1:{free_port()}"\n'
            f'[crl]\nfolder = "{world.folder}/{name}.crls"\n[limits]\nworkers = {max(workers, 1)}\n'
            f'[[listener]]\naddress = "unix:{self.socket}"\n',
            encoding="utf-8",
        )
        if workers:
            command = [sys.executable, "-m", "authz", "--config", str(self.config), "serve"]
            self.process: subprocess.Popen[bytes] | None = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
            self.pid = self.process.pid
        else:
            self.process = None
            alone = multiprocessing.Process(target=_alone, args=(self.config,), daemon=True)
            alone.start()
            assert alone.pid is not None
            self.pid = alone.pid

    @property
    def processes(self) -> dict[str, int]:
        """All of its processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        return {"supervisor": self.pid} | {f"child {number}": int(one) for number, one in enumerate(children)}

    @property
    def workers(self) -> list[int]:
        """Those that answer checks: the keeper is the first child."""
        return list(self.processes.values())[2:]

    def cpu(self) -> float:
        """Microseconds that all of its processes and threads have used."""
        tasks = (task for one in self.processes.values() for task in Path(f"/proc/{one}/task").glob("*/schedstat"))
        return sum(int(one.read_text(encoding="ascii").split()[0]) for one in tasks) / 1e3

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE)


def _alone(config: Path) -> None:
    async def run() -> None:
        settings = load_settings(config)
        with Path("/dev/null").open("wb") as sink:  # noqa: ASYNC230 - once, before anything is served
            telemetry = Telemetry(sink)
            crls = RefreshedCrls(settings, SystemClock(), telemetry)
            await WorkerApp(settings, telemetry, Sockets.open(settings), crls).start()
            await asyncio.Event().wait()

    uvloop.run(run())


async def answered(service: Service, octets: bytes, status: bytes) -> None:
    """Wait until the service answers so on every connection."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            await ask(service, octets, status, CONNECTIONS)
        except (OSError, AssertionError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)
        else:
            return
    raise TimeoutError(service.config)


async def ask(service: Service, octets: bytes, status: bytes, times: int) -> None:
    """The same question over kept connections, so many times in all."""

    async def one() -> None:
        reader, writer = await asyncio.open_unix_connection(str(service.socket))
        try:
            for _ in range(times // CONNECTIONS):
                assert await exchange(reader, writer, octets) == status
        finally:
            writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, octets: bytes) -> bytes:
    """The status of one answer."""
    writer.write(octets)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    await reader.readexactly(length)
    return head.split()[1]


def compare(world: World) -> None:
    """CPU per check: alone, and with one, two and four workers, taking turns."""
    octets = question(world, world.clients["alice"], "alice")
    services = {workers: Service(world, workers) for workers in (0, 1, 2, 4)}
    used: dict[int, list[float]] = {workers: [] for workers in services}
    rates: dict[int, list[float]] = {workers: [] for workers in services}
    for service in services.values():
        uvloop.run(answered(service, octets, b"200"))
    for _ in range(ROUNDS):
        for workers, service in services.items():
            before, started = service.cpu(), time.perf_counter()
            uvloop.run(ask(service, octets, b"200", REQUESTS))
            rates[workers].append(REQUESTS / (time.perf_counter() - started))
            used[workers].append((service.cpu() - before) / REQUESTS)
    for service in services.values():
        service.stop()
    alone = statistics.median(used[0])
    print(f"one process alone             {alone:7.1f} us of CPU a check")
    for workers in (1, 2, 4):
        each, rate = statistics.median(used[workers]), statistics.median(rates[workers])
        print(
            f"supervisor and {workers} worker(s)    {each:7.1f} us of CPU a check  {each / alone:5.2f} x  {rate:6.0f}/s"
        )


def mixture(world: World) -> list[tuple[bytes, bytes]]:
    """Questions and their right answers; new certificates are minted as the load goes."""
    clients = world.clients
    return [
        (question(world, clients["alice"], "alice"), b"200"),
        (question(world, clients["bob"], "alice"), b"403"),
        (question(world, None, "alice"), b"403"),
        (question(world, None, "olga"), b"200"),
        (question(world, clients["revoked"], "olga"), b"403"),
        (question(world, clients["expired"], "alice"), b"403"),
        (question(world, clients["foreign"], "olga"), b"403"),
        (b"GET /v1/check/ HTTP/1.1\r\nhost: x\r\nx-forwarded-client-cert: nonsense\r\n\r\n", b"403"),
    ]


async def load(world: World, service: Service, until: float, wrong: Counter[str]) -> int:
    """Mixed questions until a moment; how many there were."""
    asked = mixture(world)
    issuing = world.authorities["issuing"]
    draw = random.Random(1)  # noqa: S311 - chance that can be repeated
    count = 0

    async def one() -> None:
        nonlocal count
        while time.monotonic() < until:
            reader, writer = await asyncio.open_unix_connection(str(service.socket))
            for _ in range(200):
                octets, right = draw.choice(asked)
                kind = draw.random()
                if kind < 0.02:
                    stranger = world.mint.client(f"new{draw.random()}", issuing)
                    octets, right = question(world, stranger, "olga"), b"200"
                elif kind < 0.04:
                    octets, right = question(world, None, "alice", host=f"h{draw.random()}.test"), b"403"
                elif kind < 0.06:
                    octets, right = question(world, None, f"nobody{draw.random()}"), b"403"
                came = await exchange(reader, writer, octets)
                wrong[f"{right.decode()} was {came.decode()}"] += came != right
                count += 1
                await asyncio.sleep(0.002)
            writer.close()

    await asyncio.gather(*(one() for _ in range(8)))
    return count


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def fill(world: World, service: Service) -> None:
    """Ask each worker for more hosts, users and leaves than it remembers: what grows after that is no cache."""
    host = question(world, None, "nobody").replace(b"host: ", b"host: %d.")
    issuing = world.authorities["issuing"]
    lanes = list(zip(*[await to_one(world, service, worker) for worker in service.workers], strict=True))

    async def tell(lane: tuple[Connection, ...], octets: bytes) -> None:
        await asyncio.gather(*(exchange(*one, octets) for one in lane))

    async def one(start: int) -> None:
        for number in range(start, UNKNOWN, CONNECTIONS):
            await tell(lanes[start], host % number)
            await tell(lanes[start], question(world, None, f"nobody{number}"))
        # Last, for what is remembered of them is halved each time that it is full: the load goes on near its most.
        for number in range(start, LEAVES, CONNECTIONS):
            await tell(lanes[start], question(world, world.mint.client(f"leaf{number}", issuing), "olga"))

    await asyncio.gather(*map(one, range(CONNECTIONS)))
    for _, writer in itertools.chain.from_iterable(lanes):
        writer.close()


async def to_one(world: World, service: Service, worker: int) -> list[Connection]:
    """Connections to one of the workers: the others cannot accept them meanwhile."""
    others = [one for one in service.workers if one != worker]
    for one in others:
        os.kill(one, signal.SIGSTOP)
    try:
        opened = [await asyncio.open_unix_connection(str(service.socket)) for _ in range(CONNECTIONS)]
        for connection in opened:
            await exchange(*connection, question(world, None, "alice"))
    finally:
        for one in others:
            os.kill(one, signal.SIGCONT)
    return opened


async def publish(world: World, until: float, numbers: Iterator[int]) -> None:
    """A CRL every two seconds, as long as it goes."""
    store = DirectoryStore(world.database)
    while time.monotonic() < until:
        store.add_crl(world.crl("issuing", "revoked", number=next(numbers)), world.mint.now)
        await asyncio.sleep(2)
    store.close()


def soak(world: World, seconds: float) -> None:
    """Memory and descriptors of every process, early and late."""
    service = Service(world, 2)
    uvloop.run(answered(service, question(world, world.clients["alice"], "alice"), b"200"))
    uvloop.run(fill(world, service))
    wrong: Counter[str] = Counter()
    told: list[dict[str, tuple[float, int]]] = []
    numbers = itertools.count(10)
    for share in (0.2, 0.8):
        until = time.monotonic() + share * seconds

        async def run(until: float = until) -> int:
            count, _ = await asyncio.gather(load(world, service, until, wrong), publish(world, until, numbers))
            return count

        count = uvloop.run(run())
        told.append(dict(_uses(service)))
        print(f"soak: {count} checks in {share * seconds:.0f} s, wrong: {dict(+wrong) or 'none'}")
    for name, (own, descriptors) in told[0].items():
        after, opened = told[1].get(name, (0.0, 0))
        print(
            f"soak: {name:11} {own / MIB:6.1f} MiB {descriptors:3d} fds, later {after / MIB:6.1f} MiB {opened:3d} fds"
        )
    service.stop()


def _uses(service: Service) -> Iterator[tuple[str, tuple[float, int]]]:
    for name, process in service.processes.items():
        found = usage(process)
        if found is not None:
            yield name, (found.own, found.descriptors)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = World(Path(folder)).build()
        compare(made)
        soak(made, float(os.environ.get("SOAK", "20")))
