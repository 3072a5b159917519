"""What the supervisor and its children send each other: JSON, and sometimes a descriptor, on a pair of sockets.

A child sends its heartbeat, what keeps it from starting, and images of CRLs to be kept for its successor; the
supervisor sends links between children, and the status of all of them. When one end closes, the other notices.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any, Final

import orjson

MAX_BYTES: Final = 64 * 1024
"""Bytes of a message: the status of a few hundred processes."""

MAX_DESCRIPTORS: Final = 1


class PeerClosed(Exception):
    """The other end is closed."""


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """A message; its receiver closes `descriptor`, or takes it over."""

    content: dict[str, Any]
    descriptor: int | None = None


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends, neither of which blocks."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def send(end: socket.socket, descriptor: int | None, content: dict[str, Any]) -> bool:
    """Send a message; False when the other end is behind, or closed."""
    descriptors = [] if descriptor is None else [descriptor]
    try:
        socket.send_fds(end, [orjson.dumps(content)], descriptors, socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def receive(end: socket.socket) -> ControlMessage | None:
    """The next message; None if no message has arrived. Raises `PeerClosed`.

    A descriptor is lost, and its message comes without it, where this process may open no more.
    """
    try:
        data, descriptors, flags, _ = socket.recv_fds(end, MAX_BYTES, MAX_DESCRIPTORS)
    except BlockingIOError:
        return None
    except OSError as error:
        raise PeerClosed(str(error)) from error
    for descriptor in descriptors:
        # `recv_fds` heeds no flags (Python 3.11), so that MSG_CMSG_CLOEXEC would be lost.
        os.set_inheritable(descriptor, False)
    if not data or flags & socket.MSG_TRUNC:
        for descriptor in descriptors:
            os.close(descriptor)
        raise PeerClosed("cut short" if data else "closed")
    return ControlMessage(orjson.loads(data), descriptors[0] if descriptors else None)
