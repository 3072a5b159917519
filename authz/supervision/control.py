"""What the supervisor and its children tell each other: JSON, and now and then a descriptor, on a pair of sockets.

A child sends its heartbeat, what keeps it from starting, and images of CRLs to be kept for its successor; the
supervisor sends links between children, and how all of them fare. When one end goes, the other hears of it.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Final

import orjson

from authz import ipc
from authz.ipc import PeerClosed

MAX_OCTETS: Final = 64 * 1024
"""Octets of a message: how a few hundred processes fare."""

Gone, pair = PeerClosed, ipc.pair


@dataclass(frozen=True, slots=True)
class Told:
    """A message; whoever receives it closes `descriptor`, or takes it over."""

    what: dict[str, Any]
    descriptor: int | None = None


def tell(end: socket.socket, descriptor: int | None, what: dict[str, Any]) -> bool:
    """Send a message; False when the other end is behind, or gone."""
    try:
        return ipc.send(end, [orjson.dumps(what)], descriptor)
    except PeerClosed:
        return False


def hear(end: socket.socket) -> Told | None:
    """The next message; None when there is none yet. Raises `Gone`.

    A descriptor is lost, and its message comes without it, where this process may open no more.
    """
    received = ipc.receive(end, MAX_OCTETS, without_descriptor=True)
    if received is None:
        return None
    data, descriptor = received
    return Told(orjson.loads(data), descriptor)
