"""The supervisor becomes the version of the program that is installed by now: same process, sockets and children.

That version is tried first. Then what it needs travels in one variable of the environment, and the descriptors named
there are simply left open. Signals are blocked meanwhile: no handler would be there to act on them.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from authz.app.listeners import ListeningSocket, Sockets
from authz.errors import ConfigError
from authz.supervision.inherited_images import InheritedImages
from authz.supervision.process_table import ChildProcess, ProcessTable, Role
from authz.telemetry import Telemetry

STATE_VARIABLE: Final = "MTLS_AUTHZ_HANDOVER"
"""The variable that holds the state, as JSON."""

VERSION_VARIABLE: Final = "MTLS_AUTHZ_HANDOVER_VERSION"
"""The variable that holds `VERSION`, for the program that is tried first."""

VERSION: Final = 1
"""Of the state's form, and of the control messages."""

OF_ANOTHER_VERSION: Final = -1
"""The generation of the children that another version of the supervisor started."""

TRIAL_SECONDS: Final = 60.0
"""How long the installed version may take to report whether it would start."""

BLOCKED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class InheritedState:
    """What the version before hands over; `folder` is that of the metrics."""

    sockets: Sockets
    images: dict[bytes, int]
    folder: Path
    children: tuple[ChildProcess, ...]


class BinaryUpgrade:
    """At most one upgrade at a time. `pending` are the signals not acted on yet.

    `settled` is whether everything can be handed over now; `sockets` returns what is handed over, or raises
    `ConfigError` where the installed version could not open what its settings name.
    """

    def __init__(
        self,
        processes: ProcessTable,
        images: InheritedImages,
        pending: Sized,
        telemetry: Telemetry,
        *,
        settled: Callable[[], bool],
        sockets: Callable[[], Sockets],
    ) -> None:
        self._processes = processes
        self._images = images
        self._pending = pending
        self._telemetry = telemetry
        self._settled = settled
        self._sockets = sockets
        self._trial: subprocess.Popen[bytes] | None = None
        self._began_at = 0.0

    def begin(self, now: float) -> None:
        """Try whether the installed version would start, before this one makes way for it."""
        if self._trial is not None:
            return
        self._telemetry.say("upgrading")
        environment = {**os.environ, VERSION_VARIABLE: str(VERSION)}
        try:
            self._trial = subprocess.Popen([*own_command(), "--check"], stdout=subprocess.DEVNULL, env=environment)  # noqa: S603 - our own
        except OSError as error:
            self._warn_of(error)
        self._began_at = now

    def step(self, now: float, folder: Path | None) -> None:
        """Make way for the installed version once it was tried; `folder` is that of the metrics."""
        if self._trial is None:
            return
        code = self._trial.poll()
        if code is None and now - self._began_at > TRIAL_SECONDS:
            self._trial.kill()
        if code is None or not self.settled:
            return
        self._trial = None
        if code != 0 or folder is None:
            self._telemetry.warn(f"the installed version does not start (exit code {code}); this one stays")
            return
        try:
            exec_new_binary(self._sockets(), self._images, folder, self._processes, self._pending)
        except (ConfigError, OSError) as error:
            self._warn_of(error)

    def _warn_of(self, error: Exception) -> None:
        self._telemetry.warn(f"the installed version cannot be run: {error}; this one stays")

    @property
    def settled(self) -> bool:
        """Whether every child does its work, none is being replaced, and no signal waits."""
        return self._settled() and not self._pending

    def close(self) -> None:
        """Kill the version that is being tried."""
        if self._trial is not None:
            self._trial.kill()
            self._trial.wait()


def own_command() -> list[str]:
    """How this very program was started."""
    return [sys.executable, *sys.orig_argv[1:]]


def is_trial() -> bool:
    """Whether the running version tries this one: it holds the sockets."""
    return VERSION_VARIABLE in os.environ


def check_version() -> None:
    """Whether this version could take over from the one that tries it. Raises `ConfigError`."""
    if os.environ.get(VERSION_VARIABLE, str(VERSION)) != str(VERSION):
        raise ConfigError("this version cannot take over from the running one", hint="restart the service")


def exec_new_binary(
    sockets: Sockets, images: dict[bytes, int], folder: Path, processes: Iterable[ChildProcess], pending: Sized
) -> None:
    """Become the program that is installed now; returns only by raising `OSError`, and then all is as before.

    `pending` are signals not acted on yet: they would be lost.
    """
    children = list(processes)
    state = {
        "process": os.getpid(),
        "folder": str(folder),
        "sockets": {name: [opened.address, opened.socket.fileno(), opened.inode] for name, opened in sockets.items()},
        "images": {sha256.hex(): image for sha256, image in images.items()},
        "children": [[child.role, child.slot, child.pid, child.control.fileno()] for child in children],
    }
    descriptors = [*images.values(), *(opened.socket.fileno() for opened in sockets.values())]
    descriptors += [child.control.fileno() for child in children]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    try:
        if pending:
            raise InterruptedError(errno.EINTR, "a signal came meanwhile")
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        environment = {**os.environ, STATE_VARIABLE: orjson.dumps(state).decode()}
        os.execve(sys.executable, own_command(), environment)  # noqa: S606 - our own program
    finally:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def take_inherited_state(now: float) -> InheritedState | None:
    """What the version before handed to this process, once; None for a process that begins."""
    text = os.environ.pop(STATE_VARIABLE, "")
    if not text:
        return None
    state = orjson.loads(text)
    if state["process"] != os.getpid():
        return None
    sockets = {
        name: ListeningSocket(address, _socket(descriptor), inode)
        for name, (address, descriptor, inode) in state["sockets"].items()
    }
    images = {bytes.fromhex(sha256): image for sha256, image in state["images"].items()}
    for image in images.values():
        os.set_inheritable(image, False)
    children = tuple(
        ChildProcess(
            Role(role), slot, pid, _socket(control), OF_ANOTHER_VERSION, now, now, ready_since=now, linked=True
        )
        for role, slot, pid, control in state["children"]
    )
    return InheritedState(Sockets(sockets), images, Path(state["folder"]), children)


def unblock_signals() -> None:
    """Once their handlers are installed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)


def _socket(descriptor: int) -> socket.socket:
    inherited = socket.socket(fileno=descriptor)
    inherited.set_inheritable(False)
    inherited.setblocking(False)
    return inherited
