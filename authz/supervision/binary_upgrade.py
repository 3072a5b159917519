"""A supervisor becomes another version of itself: the same process, sockets and children, another program.

What the program that is installed by now needs to go on travels in one variable; the descriptors it names are
simply left open. Signals are held back meanwhile: nobody would be there to act on them.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from authz.app.listeners import Opened, Sockets
from authz.errors import ConfigError
from authz.supervision.process_table import Member, Role

VARIABLE: Final = "MTLS_AUTHZ_HANDOVER"

OF_ANOTHER_VERSION: Final = -1
"""The era of the children that another version of the supervisor started."""

ANNOUNCED: Final = "MTLS_AUTHZ_HANDOVER_VERSION"
"""In which form it would be handed over, for the program that is tried before."""

VERSION: Final = 1
"""Of that form, and of what children and supervisor tell each other."""

HELD_BACK: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Estate:
    """What is handed over. Children are of an era before the first."""

    sockets: Sockets
    images: dict[bytes, int]
    folder: Path
    members: tuple[Member, ...]


def command() -> list[str]:
    """How this very program was started."""
    return [sys.executable, *sys.orig_argv[1:]]


def announced() -> dict[str, str]:
    """What the program that is tried is told besides."""
    return {ANNOUNCED: str(VERSION)}


def check_version() -> None:
    """Whether this program could take over from the one that tries it. Raises `ConfigError`."""
    version = os.environ.get(ANNOUNCED, str(VERSION))
    if version != str(VERSION):
        raise ConfigError(
            "this version cannot take over from the one that runs", hint="restart the service to change to it"
        )


def leap(sockets: Sockets, images: dict[bytes, int], folder: Path, members: Iterable[Member], unheard: Sized) -> None:
    """Become the program that is installed now; returns only by raising `OSError`, and then all is as before.

    `unheard` are signals that came and were not acted on yet: they would be lost.
    """
    members = list(members)
    estate = {
        "process": os.getpid(),
        "folder": str(folder),
        "sockets": {name: [one.address, one.socket.fileno(), one.inode] for name, one in sockets.items()},
        "images": {sha256.hex(): image for sha256, image in images.items()},
        "members": [[one.role, one.place, one.pid, one.control.fileno()] for one in members],
    }
    descriptors = [*images.values(), *(one.socket.fileno() for one in sockets.values())]
    descriptors += [one.control.fileno() for one in members]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        if unheard:
            raise InterruptedError(errno.EINTR, "a signal came meanwhile")
        for one in descriptors:
            os.set_inheritable(one, True)
        os.execve(sys.executable, command(), {**os.environ, VARIABLE: orjson.dumps(estate).decode()})  # noqa: S606 - our own program
    finally:
        for one in descriptors:
            os.set_inheritable(one, False)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take(now: float) -> Estate | None:
    """What this process was handed by its former self, once; None for one that begins."""
    written = os.environ.pop(VARIABLE, "")
    if not written:
        return None
    estate = orjson.loads(written)
    if estate["process"] != os.getpid():
        return None
    sockets = {
        name: Opened(address, _socket(descriptor), inode)
        for name, (address, descriptor, inode) in estate["sockets"].items()
    }
    images = {bytes.fromhex(sha256): image for sha256, image in estate["images"].items()}
    for image in images.values():
        os.set_inheritable(image, False)
    members = tuple(
        Member(Role(role), place, pid, _socket(control), OF_ANOTHER_VERSION, now, now, ready_since=now, linked=True)
        for role, place, pid, control in estate["members"]
    )
    return Estate(Sockets(sockets), images, Path(estate["folder"]), members)


def let_signals_in() -> None:
    """Once somebody acts on them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)


def _socket(descriptor: int) -> socket.socket:
    made = socket.socket(fileno=descriptor)
    made.set_inheritable(False)
    made.setblocking(False)
    return made
