"""What the supervisor and its children send each other: JSON, and sometimes a descriptor, on a pair of sockets.

A child sends its heartbeat, what keeps it from starting, and images of CRLs to be kept for its successor; the
supervisor sends links between children, and the status of all of them. When one end closes, the other notices.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Final

import orjson

from authz import ipc
from authz.ipc import PeerClosed

MAX_BYTES: Final = 64 * 1024
"""Bytes of a message: the status of a few hundred processes."""

MAX_KEY_SETS: Final = 100
"""Key sets that cannot be read in one message, those that become unusable first: a few KB of it."""

control_pair = ipc.pair


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """A message; its receiver closes `descriptor`, or takes it over."""

    content: dict[str, Any]
    descriptor: int | None = None


def send(end: socket.socket, descriptor: int | None, content: dict[str, Any]) -> bool:
    """Send a message; False when the other end is behind, or closed."""
    try:
        return ipc.send(end, [orjson.dumps(content)], descriptor)
    except PeerClosed:
        return False


def receive(end: socket.socket) -> ControlMessage | None:
    """The next message; None if no message has arrived. Raises `PeerClosed`.

    A descriptor is lost, and its message comes without it, where this process may open no more.
    """
    received = ipc.receive(end, MAX_BYTES, without_descriptor=True)
    if received is None:
        return None
    data, descriptor = received
    return ControlMessage(orjson.loads(data), descriptor)
