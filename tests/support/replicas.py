"""Two replicas of the service, each behind an Envoy of its own, over one PostgreSQL that has a standby.

All of them reach both servers through a relay, which can be cut: then what is sent is lost, and nothing is answered.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from authz.demo import Stage, service_settings
from authz.demo.application import Application
from authz.demo.client import Connection, client_context
from authz.demo.mint import HOST
from authz.demo.processes import Envoy, ServiceProcess, running
from authz.demo.world import World
from support.clients import bearer, family
from support.postgresql import Server
from support.worker_processes import METRICS_PAUSE, Direct, all_ready, until

WORKERS = 2
"""Of each replica."""


class Answer(NamedTuple):
    """A status, and when its request began (`time.monotonic`)."""

    began: float
    status: int


class Relay:
    """Stands between clients and a server of PostgreSQL, at a Unix socket of its own."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self._server = folder, server
        self._passing = threading.Event()
        self._passing.set()
        folder.mkdir()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen(100)
        threading.Thread(target=self._accept, daemon=True).start()

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Pass nothing on in the block: neither what clients send, nor connections."""
        self._passing.clear()
        try:
            yield
        finally:
            self._passing.set()

    def stop(self) -> None:
        """Accept nothing any more."""
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            self._passing.wait()
            server.connect(str(self._server.folder / ".s.PGSQL.5432"))
            back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
            back.start()
            self._pass(client, server)
            back.join()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._passing.wait()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Cluster:
    """A primary, an asynchronous standby of it, and the URL by which a client finds whichever is the primary."""

    def __init__(self, folder: Path) -> None:
        # A commit is written before it is answered: a server that is killed must not lose it.
        self.primary = Server(synchronous_commit="on", wal_level="replica")
        self.primary.initialize()
        self.primary.start()
        self.primary.psql("CREATE DATABASE directory")
        self.standby = Server(synchronous_commit="on")
        self._copy()
        self.standby.start()
        self.relays = [
            Relay(folder / f"relay-{number}", one) for number, one in enumerate((self.primary, self.standby))
        ]
        hosts = ",".join(str(relay.folder) for relay in self.relays)
        self.url = f"postgresql://owner@/directory?host={hosts}"

    def _copy(self) -> None:
        """Have the standby begin as a copy of the primary that follows it."""
        socket_folder = self.primary.folder
        self.standby.run(
            "pg_basebackup", "-h", socket_folder, "-U", "owner", "-R", "-c", "fast", "-D", self.standby.data
        )

    def until_followed(self) -> None:
        """Wait until the standby has everything that the primary committed."""
        position = self.primary.psql("SELECT pg_current_wal_flush_lsn()")
        until(lambda: self.standby.psql(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == "t")

    def unfollow(self) -> None:
        """From here on the standby receives nothing."""
        self.standby.psql("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.psql("SELECT pg_reload_conf()")
        until(lambda: self.standby.psql("SELECT count(*) FROM pg_stat_wal_receiver") == "0")

    def fail_over(self) -> None:
        """Make the standby the primary."""
        self.standby.psql("SELECT pg_promote()")

    def stop(self) -> None:
        """End all."""
        for relay in self.relays:
            relay.stop()
        for server in (self.standby, self.primary):
            send_all(server, signal.SIGCONT)
            server.stop()


def send_all(server: Server, number: signal.Signals) -> None:
    """A signal to every process of a server; the first gets it first, so that it replaces none."""
    if server.process is not None and server.process.poll() is None:
        for process in family(server.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)


def kill(server: Server) -> None:
    """End every process of a server at once, as a machine does that fails."""
    send_all(server, signal.SIGKILL)
    assert server.process is not None
    server.process.wait()


@contextlib.contextmanager
def halted(server: Server) -> Iterator[None]:
    """In the block the server hangs: it accepts connections, and answers nothing."""
    send_all(server, signal.SIGSTOP)
    try:
        yield
    finally:
        send_all(server, signal.SIGCONT)


class Replica(Stage):
    """A service of some workers and the Envoy before it, in a world that others share."""

    def __init__(self, world: World, application: Application) -> None:
        folder = world.folder
        crls = f'\n[limits]\nworkers = {WORKERS}\n\n[crl]\nfolder = "{folder / "crls"}"\n'
        self.world, self.application = world, application
        self.service = ServiceProcess(folder, service_settings(world.database, world.socket) + crls)
        self.proxy = self.envoy = Envoy(folder, world.socket, application=application.port)
        self._tokens: dict[tuple[str, str], str] = {}


class Replicas:
    """The two replicas, and connections to every worker of both as the holders of some certificates."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder)
        first, second = folder / "first", folder / "second"
        first.mkdir()
        self.world = World(first, directory=self.cluster.url).build()
        shutil.copytree(first, second)
        self.application = Application()
        worlds = (self.world, replace(self.world, folder=second))
        self.stages = [Replica(world, self.application) for world in worlds]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """In the block everything runs."""
        parts = [part for stage in self.stages for part in (stage.service, stage.envoy)]
        with contextlib.ExitStack() as stack:
            stack.callback(self.cluster.stop)
            stack.enter_context(running(self.application, *parts))
            until(lambda: all(all_ready(stage, WORKERS) for stage in self.stages), METRICS_PAUSE)
            yield

    @contextlib.contextmanager
    def asked(self, certificate: str) -> Iterator[Everywhere]:
        """How to ask every worker, and through each Envoy, whether alice may pass with a certificate."""
        with contextlib.ExitStack() as stack:
            asks: list[Callable[[], int]] = []
            for stage in self.stages:
                direct = stack.enter_context(contextlib.closing(Direct(stage, certificate)))
                direct.reach_each_worker(stage, WORKERS)
                asks += [*direct, _through(stage, certificate, stack)]
            yield Everywhere(asks)


class Everywhere(list[Callable[[], int]]):
    """Ways to ask the same of every worker. From several threads they take turns."""

    def __init__(self, asks: Iterable[Callable[[], int]]) -> None:
        super().__init__(asks)
        self._turn = threading.Lock()
        self.answers: list[Answer] = []

    def all_say(self, status: int) -> bool:
        """Whether the answer is the same everywhere; each is kept in `answers`."""
        with self._turn:
            return set(map(self._ask, self)) == {status}

    def _ask(self, ask: Callable[[], int]) -> int:
        began = time.monotonic()
        status = ask()
        self.answers.append(Answer(began, status))
        return status

    @contextlib.contextmanager
    def steadily(self) -> Iterator[None]:
        """In the block they are asked all the time."""
        over = threading.Event()
        thread = threading.Thread(target=self._go_on, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _go_on(self, over: threading.Event) -> None:
        while not over.wait(0.01):
            self.all_say(200)

    def statuses(self, since: float = 0.0) -> set[int]:
        """What was answered to requests that began after a moment."""
        return {answer.status for answer in self.answers if answer.began > since}

    def outage(self, broken: float, mended: float) -> str:
        """From how long after a server broke until how long after it was mended requests got 503."""
        refused = [answer.began for answer in self.answers if answer.status == 503 and answer.began > broken]
        if not refused:
            return "none refused"
        return f"503 from {refused[0] - broken:.2f} s after it broke until {refused[-1] - mended:+.2f} s of its mending"


def _through(stage: Stage, certificate: str, stack: contextlib.ExitStack) -> Callable[[], int]:
    folder = stage.world.folder
    context = client_context(folder / "roots.pem", folder / f"{certificate}.pem")
    connection = stack.enter_context(contextlib.closing(Connection(stage.proxy.port, context, HOST)))
    return lambda: connection.get(headers=bearer(stage, "alice")).status
