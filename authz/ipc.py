"""Messages between processes of ours: bytes, and now and then a descriptor, over a pair of SOCK_SEQPACKET sockets.

A pair has no name, so no other process can reach it. Each message comes whole or not at all; a descriptor travels
beside it (SCM_RIGHTS, unix(7)), and the receiver's copy is closed in programs that it executes.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable


class PeerClosed(Exception):
    """The other end is closed, or a message did not come whole."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, neither of which blocks."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def send(end: socket.socket, pieces: Iterable[bytes], descriptor: int | None = None) -> bool:
    """Send one message now, made of `pieces`; False when the other end is behind. Raises `PeerClosed`."""
    descriptors = [] if descriptor is None else [descriptor]
    try:
        socket.send_fds(end, pieces, descriptors, socket.MSG_NOSIGNAL)
    except BlockingIOError:
        return False
    except OSError as error:
        raise PeerClosed(str(error)) from error
    return True


def receive(end: socket.socket, max_bytes: int, *, without_descriptor: bool = False) -> tuple[bytes, int | None] | None:
    """The next message and its descriptor, which the caller closes; None when nothing arrived yet.

    A descriptor is lost where this process may open no more. Then `without_descriptor` says that the message is
    wanted all the same; else it counts as cut short. Raises `PeerClosed`.
    """
    try:
        data, descriptors, flags, _ = socket.recv_fds(end, max_bytes, 1)
    except BlockingIOError:
        return None
    except OSError as error:
        raise PeerClosed(str(error)) from error
    for descriptor in descriptors:
        # `recv_fds` heeds no flags (Python 3.11), so that MSG_CMSG_CLOEXEC would be lost.
        os.set_inheritable(descriptor, False)
    cut = flags & (socket.MSG_TRUNC if without_descriptor else socket.MSG_TRUNC | socket.MSG_CTRUNC)
    if cut or not data:
        for descriptor in descriptors:
            os.close(descriptor)
        raise PeerClosed("a message was cut short" if cut else "the other end is closed")
    return data, descriptors[0] if descriptors else None


async def ready(end: socket.socket, *, writable: bool = False) -> None:
    """Wait until something can be received, or sent if `writable`."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    add, remove = (loop.add_writer, loop.remove_writer) if writable else (loop.add_reader, loop.remove_reader)
    add(end, event.set)
    try:
        await event.wait()
    finally:
        remove(end)


async def next_message(
    end: socket.socket, max_bytes: int, *, without_descriptor: bool = False
) -> tuple[bytes, int | None]:
    """As `receive`, waiting for the message. Raises `PeerClosed`."""
    while (received := receive(end, max_bytes, without_descriptor=without_descriptor)) is None:
        await ready(end)
    return received
