"""A stage whose service has several workers: their processes, steady clients, and connections past the proxy."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding

from authz.demo import Stage
from authz.demo.client import Connection, client_context
from authz.demo.mint import HOST
from support.clients import bearer

WORKERS = 4

BOUND = 1.0
"""Seconds from a change to the last request it does not hold for: the published bound."""

PATIENCE = 60.0
"""Seconds until something that must happen is taken for not happening; a busy machine is not a failure."""


def children(stage: Stage) -> list[int]:
    """The keeper and the workers, the eldest first."""
    assert stage.service.process is not None
    pid = stage.service.process.pid
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def until(true: Callable[[], bool], pause: float = 0.01) -> None:
    """Wait for something that happens in other processes, and look for it every `pause` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(pause)


METRICS_PAUSE = 0.1
"""Seconds between two looks at the metrics: to make them costs the CRL manager more than the checks meanwhile."""


def events(stage: Stage, name: str) -> int:
    """How often the service logged an event."""
    return sum(f'"event":"{name}"' in line for line in list(stage.service.log))


def reasons(stage: Stage) -> Counter[str]:
    """How often the service refused for which reason: of a 503 the proxy says nothing."""
    lines = [json.loads(line) for line in list(stage.service.log) if '"outcome":"deny"' in line]
    return Counter(line["reason"] for line in lines)


def metric(stage: Stage, name: str) -> dict[str, float]:
    """The series of a metric of the operators' listener, by what stands in their braces."""
    text = (stage.world.folder / "authz.toml").read_text()
    address = text.partition("[ops]\naddress = ")[2].split('"')[1]
    with contextlib.closing(http.client.HTTPConnection(address, timeout=PATIENCE)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    mine = [line.rpartition(" ") for line in lines if line.startswith(name + "{")]
    return {series.removeprefix(name): float(value) for series, _, value in mine}


def all_ready(stage: Stage, workers: int) -> bool:
    """Whether keeper and workers do their work, and none besides."""
    if len(children(stage)) != workers + 1:
        return False
    try:
        ready = metric(stage, "authz_process_ready")
    except (OSError, http.client.HTTPException):
        return False
    return len(ready) == workers + 1 and set(ready.values()) == {1.0} and len(children(stage)) == workers + 1


class Steady:
    """Clients that go on asking through the proxy, each at its own pace: alice, and alice with bob's certificate.

    `answers` counts by what was right (200 or 403) and what came.
    """

    def __init__(self, stage: Stage, clients: int = 3, pause: float = 0.01) -> None:
        self._stage = stage
        self._pause = pause
        self._over = threading.Event()
        kinds = [("alice", 200), ("alice", 200), ("bob", 403)]
        self._threads = [
            threading.Thread(target=self._run, args=kinds[number % 3], daemon=True) for number in range(clients)
        ]
        self.answers: Counter[tuple[int, int | str]] = Counter()

    def _run(self, certificate: str, right: int) -> None:
        folder = self._stage.world.folder
        context = client_context(folder / "roots.pem", folder / f"{certificate}.pem")
        connection = Connection(self._stage.proxy.port, context, HOST)
        while not self._over.is_set():
            try:
                answer = connection.get(headers=bearer(self._stage, "alice"))
                came: int | str = answer.status
                if came != right:
                    # The reason, to explain the failure: empty if Envoy did not pass on the answer; see `reasons`.
                    came = f"{came} {self._stage.reason(answer)}"
            except OSError as error:
                came = type(error).__name__
                connection.close()
                connection = Connection(self._stage.proxy.port, context, HOST)
            self.answers[right, came] += 1
            self._over.wait(self._pause)
        connection.close()

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for one in self._threads:
            one.join(PATIENCE)

    @property
    def wrong(self) -> dict[tuple[int, int | str], int]:
        """What was not answered as it is right."""
        return {key: count for key, count in self.answers.items() if key[0] != key[1]}


class Direct:
    """Connections to the service itself, kept open, past the proxy: each is some worker's.

    What is asked on them is whether alice may pass, with the certificate of `shown`.
    """

    def __init__(self, stage: Stage, shown: str = "alice") -> None:
        self._octets = self._question(stage, shown)
        self._address = str(stage.world.socket)
        self._open: list[socket.socket] = []

    def open(self, connections: int) -> None:
        """Open so many more."""
        for _ in range(connections):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            one.settimeout(PATIENCE)
            one.connect(self._address)
            self._open.append(one)

    @staticmethod
    def _question(stage: Stage, shown: str) -> bytes:
        """What Envoy asks about alice."""
        party = stage.world.clients[shown]
        chain = [one.public_bytes(Encoding.PEM).decode() for one in (party.certificate, *party.chain)]
        fingerprint = party.certificate.fingerprint(party.certificate.signature_hash_algorithm).hex()
        certificate = quote(chain[0], safe="-")
        bag = quote("".join(chain), safe="-")
        payload = stage.token("alice").split(".")[1]
        lines = (
            "GET /v1/check/ HTTP/1.1",
            f"host: {HOST}",
            f'x-forwarded-client-cert: Hash={fingerprint};Cert="{certificate}";Chain="{bag}"',
            f"x-authz-peer: sha256={fingerprint}",
            f"x-authz-payload: {payload}",
        )
        return "\r\n".join((*lines, "", "")).encode()

    def __iter__(self) -> Iterator[Callable[[], int]]:
        """Of each connection, how to ask on it."""
        return iter([lambda one=one: self._ask(one) for one in self._open])  # type: ignore[misc]

    def _ask(self, one: socket.socket) -> int:
        one.sendall(self._octets)
        got = b""
        while b"\r\n\r\n" not in got:
            got += one.recv(65536)
        head, _, body = got.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += one.recv(65536)
        return int(head.split()[1])

    def reach_each_worker(self, stage: Stage, workers: int = WORKERS) -> None:
        """Open connections until each worker has one: a worker that is free accepts."""
        before = metric(stage, "authz_worker_checks_total")
        assert len(before) == workers

        def each() -> bool:
            self.open(workers)
            for ask in self:
                ask()
            time.sleep(1)  # a worker reports how many checks it had every half second
            return all(metric(stage, "authz_worker_checks_total")[worker] > count for worker, count in before.items())

        until(each)

    def all_say(self, status: int) -> bool:
        """Whether the answer is the same on every connection."""
        return {ask() for ask in self} == {status}

    def close(self) -> None:
        """Close them."""
        for one in self._open:
            one.close()


def last_allowed(asks: Iterable[Callable[[], int]]) -> float:
    """Seconds from now to the last request that was allowed; all have to be refused in the end."""
    changed = time.monotonic()
    found = 0.0
    refused = 0
    while refused < 2:
        answers = []
        for ask in asks:
            began = time.monotonic()
            answers.append(ask())
            if answers[-1] == 200:
                found = began - changed
        refused = refused + 1 if set(answers) == {403} else 0
        assert time.monotonic() < changed + PATIENCE
    return found


def rounds(default: int) -> int:
    """How often a test repeats what it does; `ROUNDS=N` makes it N times."""
    return int(os.environ.get("ROUNDS", default))
