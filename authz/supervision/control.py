"""What the supervisor and its children tell each other: JSON, and now and then a descriptor, on a pair of sockets.

A child sends its heartbeat, what keeps it from starting, and images of CRLs to be kept for its successor; the
supervisor sends links between children, and how all of them fare. When one end goes, the other hears of it.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any, Final

import orjson

MAX_OCTETS: Final = 64 * 1024
"""Octets of a message: how a few hundred processes fare."""

MAX_DESCRIPTORS: Final = 1


class Gone(Exception):
    """The other end has gone."""


@dataclass(frozen=True, slots=True)
class Told:
    """A message; whoever receives it closes `descriptor`, or takes it over."""

    what: dict[str, Any]
    descriptor: int | None = None


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends, neither of which blocks."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for one in ends:
        one.setblocking(False)
    return ends


def tell(end: socket.socket, descriptor: int | None, what: dict[str, Any]) -> bool:
    """Send a message; False when the other end is behind, or gone."""
    descriptors = [] if descriptor is None else [descriptor]
    try:
        socket.send_fds(end, [orjson.dumps(what)], descriptors, socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def hear(end: socket.socket) -> Told | None:
    """The next message; None when there is none yet. Raises `Gone`.

    A descriptor is lost, and its message comes without it, where this process may open no more.
    """
    try:
        data, descriptors, flags, _ = socket.recv_fds(end, MAX_OCTETS, MAX_DESCRIPTORS)
    except BlockingIOError:
        return None
    except OSError as error:
        raise Gone(str(error)) from error
    for one in descriptors:
        # `recv_fds` heeds no flags (Python 3.11), so that MSG_CMSG_CLOEXEC would be lost.
        os.set_inheritable(one, False)
    if not data or flags & socket.MSG_TRUNC:
        for one in descriptors:
            os.close(one)
        raise Gone("cut short" if data else "closed")
    return Told(orjson.loads(data), descriptors[0] if descriptors else None)
