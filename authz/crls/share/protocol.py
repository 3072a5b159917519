"""How the process that keeps the CRLs and those that look at them talk: one pair of sockets for each of them.

A message is a kind, a number and octets, in one datagram of SOCK_SEQPACKET; what is large, or a CRL, comes along
as a descriptor of sealed memory. Both ends are processes of ours, made by one parent: the pair has no name, so
nobody else can reach it. Whoever meets a kind that he does not know passes over it, so that two versions of the
service can talk while one takes the other's place.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_HEAD: Final = struct.Struct("=BQ")

MAX_OCTETS: Final = 4_096
"""Octets of a message; anything that may be longer travels as sealed memory."""

MAX_DESCRIPTORS: Final = 2


class Kind(IntEnum):
    """What a message is."""

    CRL = 1
    """To who looks: one more CRL, as sealed memory."""
    LISTED = 2
    """To who looks: which CRLs count from now on, and what was refused, as sealed memory."""
    CURRENT = 3
    """To who looks: everything up to this moment (`number`, ns of the monotonic clock) was told."""
    ANSWER = 4
    """To who looks: the question of that number is settled."""
    QUESTION = 5
    """To who keeps: a path (sealed memory) of an organization (body) whose CRLs a check waits for."""
    MET = 6
    """To who keeps: a path (sealed memory) of an organization (`number`) that verified."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; whoever receives it closes `descriptor`."""

    kind: int
    number: int
    body: bytes
    descriptor: int | None


class LinkLost(Exception):
    """The other end has gone."""


class Link:
    """One end, used by one event loop; takes the socket over."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._sending = asyncio.Lock()

    def close(self) -> None:
        """Hang up; whoever waits for a message is to be cancelled first."""
        self._socket.close()

    def try_to_send(self, kind: Kind, number: int = 0, body: bytes = b"", descriptor: int | None = None) -> bool:
        """Send now, or not at all: False when the other end is behind. Raises `LinkLost`."""
        descriptors = [] if descriptor is None else [descriptor]
        try:
            socket.send_fds(self._socket, [_HEAD.pack(kind, number), body], descriptors, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError as error:
            raise LinkLost(str(error)) from error
        return True

    async def send(self, kind: Kind, number: int = 0, body: bytes = b"", descriptor: int | None = None) -> None:
        """Send, when the other end has room; in the order of the calls. Raises `LinkLost`."""
        async with self._sending:
            while not self.try_to_send(kind, number, body, descriptor):
                await _ready(self._socket, writable=True)

    async def receive(self) -> Message:
        """The next message. Raises `LinkLost`."""
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(self._socket, MAX_OCTETS, MAX_DESCRIPTORS)
                break
            except BlockingIOError:
                await _ready(self._socket, writable=False)
            except OSError as error:
                raise LinkLost(str(error)) from error
        for one in descriptors:
            # `recv_fds` heeds no flags (Python 3.11), so that MSG_CMSG_CLOEXEC would be lost.
            os.set_inheritable(one, False)
        cut = flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC)
        if cut or len(data) < _HEAD.size:
            for one in descriptors:
                os.close(one)
            # A descriptor is lost where this process may open no more: what it stands for must not be passed over.
            raise LinkLost("a message was cut short" if cut else "the other end has gone")
        kind, number = _HEAD.unpack_from(data)
        return Message(kind, number, data[_HEAD.size :], descriptors[0] if descriptors else None)


async def _ready(one: socket.socket, *, writable: bool) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    add, remove = (loop.add_writer, loop.remove_writer) if writable else (loop.add_reader, loop.remove_reader)
    add(one, event.set)
    try:
        await event.wait()
    finally:
        remove(one)


_LENGTH: Final = struct.Struct("=I")


def packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Each piece behind its length, to be sealed."""
    for one in pieces:
        yield _LENGTH.pack(len(one))
        yield one


def unpacked(data: bytes | memoryview) -> list[bytes]:
    """The pieces that were packed. Raises `ValueError` for anything else."""
    found, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ValueError("a length that is cut short")
        (octets,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + octets > len(data):
            raise ValueError("a piece that is cut short")
        found.append(bytes(data[at : at + octets]))
        at += octets
    return found
