"""What a check costs: the core against one P-256 verification, the service against a null handler, in one run.

And what a user costs whose row has to be read first: the service with a real directory in SQLite, one check
at a time and as many at once as a transaction reads rows, each for another user, minus the same checks once
more, with every row at hand.

Figures of one machine say little, ratios inside one run say more: what is compared takes turns, five
rounds each, and the medians are compared. All of it is CPU, by rusage; the client of the service is
another process on the same transport, a Unix socket.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import uvloop
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from machine import Steal
from support.certificates import NOW
from support.decision_world import ALICE, CA, MemoryView, Says, request, standard_view
from support.directory import DirectoryStore

from authz.app.config import Settings
from authz.app.crls import CrlSnapshot
from authz.clock import SystemClock
from authz.decision import Allow
from authz.directory import DirectoryReader
from authz.directory.sqlite.migrate import migrate
from authz.directory.waiting_rows import MAX_BATCH
from authz.identity.header import UserNameHeader
from authz.model import CheckRequest, Enforcement, Organization, Registration
from authz.pki import CrlStore
from authz.pki.cache import SharedCache
from authz.service import Service, decide
from authz.supervision.worker import settle
from authz.telemetry import Telemetry
from authz.view import Listener
from authz.web.checks import Checks, Endpoints
from authz.web.server import Server

ROUNDS = 5
REQUESTS = 4_000
LEAVES = 200
USERS = 400
DOOR = Listener("bench", (Says("alice"),))


def cpu() -> float:
    """Microseconds of CPU that this process has used, every thread counted."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


def microseconds(action: Callable[[], object], times: int) -> float:
    """The mean CPU of one call; what else runs on the machine does not count."""
    before = cpu()
    for _ in range(times):
        action()
    return (cpu() - before) / times


def core() -> None:
    """A known chain of three, and leaves never seen before, beside the verification they cannot do without.

    That verification is timed twice: repeated by itself, when all it needs is at hand, and in turns with the checks
    of new leaves, each for another leaf, where it has to be fetched again as it has to be inside a check.
    """
    view = standard_view()
    directory, clock = _Held(view), _Clock()
    known = request(ALICE, CA)
    key, algorithm = CA.key.public_key(), ec.ECDSA(hashes.SHA256())
    leaves = [CA.leaf(f"new{number}") for number in range(ROUNDS * LEAVES)]
    registered = {one.sha256: (Registration(number, 1, 0, one.sha256),) for number, one in enumerate(leaves, 100)}
    registered[ALICE.sha256] = (view.registered[0],)
    view.registrations = lambda _organization, sha256: registered.get(sha256, ())  # type: ignore[method-assign, assignment]
    signed = [(one.certificate.signature, one.certificate.tbs_certificate_bytes) for one in leaves]
    news = [request(one, CA) for one in leaves]
    assert isinstance(decide(known, DOOR, directory, clock), Allow)
    settle()

    def verify(at: int) -> None:
        key.verify(*signed[at], algorithm)  # type: ignore[call-arg, arg-type]

    repeated, warm, turns, cold = [], [], [], []
    for part in range(ROUNDS):
        repeated.append(microseconds(lambda: verify(0), 500))
        warm.append(microseconds(lambda: decide(known, DOOR, directory, clock), 2_000))
        used = [0.0, 0.0]
        for at in range(part * LEAVES, (part + 1) * LEAVES):
            used[0] += microseconds(lambda: verify(at - 7), 1)  # noqa: B023 - called at once
            used[1] += microseconds(lambda: decide(news[at], DOOR, directory, clock), 1)  # noqa: B023
        turns.append(used[0] / LEAVES)
        cold.append(used[1] / LEAVES)
    alone, beside = statistics.median(repeated), statistics.median(turns)
    for what, found in (("check of a known chain", warm), ("check of a new leaf", cold)):
        mean = statistics.median(found)
        print(f"{what:29} {mean:7.1f} us  {mean / alone:5.2f} x one repeated, {mean / beside:5.2f} x one in turns")
    print(f"one P-256 verification        {alone:7.1f} us repeated, {beside:.1f} us in turns with new leaves")


class _Clock:
    def now(self) -> datetime:
        return NOW

    monotonic = staticmethod(time.monotonic)


class _Held:
    """A directory that has everything at hand."""

    def __init__(self, view: MemoryView) -> None:
        self._view = view

    def view(self) -> MemoryView:
        return self._view

    async def load(self, _key: object) -> bool:
        return True


async def _null(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


async def _serve(path: str, pipe: multiprocessing.connection.Connection, *, real: bool) -> None:
    with Path("/dev/null").open("wb") as sink:  # noqa: ASYNC230 - once, before anything is served
        telemetry = Telemetry(sink)
        service = Service(_Held(standard_view()), _Clock(), telemetry)

        loop = asyncio.get_running_loop()
        telemetry.write_in_batches(loop.call_later, SharedCache())
        at_once = service.check_at_once
        handler = Checks(service.check, DOOR, Endpoints(), refuse=service.refuse, check_at_once=at_once)
        if real:
            server: web.Server = Server(handler, handler.unread, handler.at_once)
        else:
            server = web.Server(_null, max_field_size=262_144)
        listening = await loop.create_unix_server(server, path)
        pipe.send("ready")
        while listening.is_serving():
            await asyncio.to_thread(pipe.recv)
            pipe.send(cpu())


def _server(path: str, pipe: multiprocessing.connection.Connection, real: bool) -> None:  # noqa: FBT001 - a process's arguments
    uvloop.run(_serve(path, pipe, real=real))


async def _load(path: str, octets: bytes) -> None:
    """REQUESTS requests over four kept connections."""

    async def one() -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        for _ in range(REQUESTS // 4):
            writer.write(octets)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(one() for _ in range(4)))


def service() -> None:
    """CPU of the service per check, against a null handler of the same server, taking turns."""
    asked = request(ALICE, CA)
    header = asked.values("x-forwarded-client-cert")[0]
    octets = b"GET /v1/check/ HTTP/1.1\r\nhost: acme.example.test\r\nx-forwarded-client-cert: " + header + b"\r\n\r\n"
    used: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        processes = {}
        for real in used:
            here, there = multiprocessing.Pipe()
            path = f"{folder}/{real}.sock"
            process = multiprocessing.Process(target=_server, args=(path, there, real), daemon=True)
            process.start()
            assert here.recv() == "ready"
            processes[real] = (path, here, process)
            uvloop.run(_load(path, octets))
        for _ in range(ROUNDS):
            for real, (path, pipe, _process) in processes.items():
                pipe.send("usage")
                before = pipe.recv()
                uvloop.run(_load(path, octets))
                pipe.send("usage")
                used[real].append((pipe.recv() - before) / REQUESTS)
        for _path, _pipe, process in processes.values():
            process.kill()
    null, whole = statistics.median(used[False]), statistics.median(used[True])
    print(f"null handler, Unix socket     {null:7.1f} us of CPU")
    print(f"whole check, log and metrics  {whole:7.1f} us of CPU  {whole / null:5.2f} x")


async def _checks(service: Service, users: list[str], at_once: int) -> float:
    """Microseconds of CPU for one check, every thread of the process counted."""
    listener = Listener("bench", (UserNameHeader("x-user"),))
    asked = [CheckRequest(name, "acme.example.test", ((b"x-user", name.encode("ascii")),)) for name in users]
    before = cpu()
    for start in range(0, len(asked), at_once):
        decisions = await asyncio.gather(*(service.check(one, listener) for one in asked[start : start + at_once]))
        assert all(isinstance(one, Allow) for one in decisions), decisions
    return (cpu() - before) / len(asked)


async def _look_ups(url: str, users: list[str]) -> None:
    clock = SystemClock()
    crls = CrlSnapshot(Settings(database=url), CrlStore())
    for at_once in (1, MAX_BATCH):
        rounds = []
        for _ in range(ROUNDS):
            directory = DirectoryReader(url, crls, monotonic=clock.monotonic, warn=print)
            await directory.start()
            service = Service(directory, clock, Telemetry(BytesIO(), log_decisions=False))
            await _checks(service, users[:1], 1)
            cold, warm = [await _checks(service, users[1:], at_once) for _ in range(2)]
            rounds.append(cold - warm)
            await directory.close()
        print(f"row of a user, {at_once:2} at once       {statistics.median(rounds):7.1f} us of CPU")


def look_ups() -> None:
    """CPU of reading a user's row."""
    users = [f"user{number}" for number in range(USERS)]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/authz.db"
        migrate(url)
        store = DirectoryStore(url)
        store.add_organization(Organization(0, "acme", ("acme.example.test",)))
        for name in users:
            store.add_user("acme", name, Enforcement.OFF)
        store.close()
        uvloop.run(_look_ups(url, users))


if __name__ == "__main__":
    steal = Steal()
    core()
    service()
    look_ups()
    print(steal)
