"""The service as `authz serve` is, with its processes in reach."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from support.directory import new_store

PATIENCE = 60.0
"""Seconds until something that must happen is taken for not happening; a busy machine is not a failure."""


class Served:
    """`authz serve` in a folder; `workers` is what the settings say."""

    def __init__(self, folder: Path, workers: int = 2, more: str = "") -> None:
        self.folder = folder
        self.socket = folder / "s.sock"
        self.config = folder / "authz.toml"
        self.write(workers, more)
        new_store(f"sqlite:///{folder}/authz.db").close()
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._seen = 0

    def write(self, workers: int, more: str = "") -> None:
        """Write the settings."""
        self.config.write_text(
            f'database = "sqlite:///{self.folder}/authz.db"\n[ops]\naddress = "127.0.0.1:0"\n'
            f'[limits]\nworkers = {workers}\n[[listener]]\naddress = "unix:{self.socket}"\n{more}'
        )

    @property
    def command(self) -> list[str]:
        """How it is started."""
        return [sys.executable, "-m", "authz", "--config", str(self.config), "serve"]

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        self.until(lambda: "ready" in self.events or self.process is None or self.process.poll() is not None)
        assert "ready" in self.events, self.log.read_text()

    def stop(self) -> int:
        """Stop it gracefully; its exit code."""
        if self.process is None:
            return 0
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def tell(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def lines(self) -> list[dict[str, object]]:
        """What it logged since `forget_log`."""
        return self._lines()[self._seen :]

    def _lines(self) -> list[dict[str, object]]:
        text = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in text if line.startswith("{") and line.endswith("}")]

    def forget_log(self) -> None:
        """Have what it logged so far concern no test that follows."""
        self._seen = len(self._lines())

    @property
    def events(self) -> list[object]:
        """The names of what it logged."""
        return [one["event"] for one in self.lines]

    @property
    def children(self) -> list[int]:
        """Its children, the eldest first."""
        assert self.process is not None
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return sorted(map(int, found))

    def get(self, path: str) -> tuple[int, str]:
        """An answer of the operators' listener."""
        address = [one["address"] for one in self._lines() if one.get("listener") == "ops"][-1]
        connection = http.client.HTTPConnection(str(address), timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def metric(self, name: str) -> dict[str, float]:
        """The series of a metric, by what stands in their braces."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith((name + "{", name + " "))]
        return {line.rpartition(" ")[0].removeprefix(name): float(line.rpartition(" ")[2]) for line in lines}

    def check(self, at: Path | None = None) -> int:
        """The status of a check without an identity, on a connection of its own."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            client.connect(str(at or self.socket))
            client.sendall(b"GET /v1/check/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            return int(client.recv(100).split()[1])

    def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that happens in other processes."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)


def end(served: Served) -> None:
    """Whatever became of it, nothing of it stays."""
    if served.process is not None and served.process.poll() is None:
        for one in served.children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)
        served.process.kill()
        served.process.wait()


def opened_files(process: int) -> str:
    """The files that a process has open."""
    targets = []
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            targets.append(str(descriptor.readlink()))
    return " ".join(targets)
