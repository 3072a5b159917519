"""Messages with descriptors between two processes: whole, in order, or the peer counts as closed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from authz import ipc
from authz.ipc import PeerClosed

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two connected ends."""
    made = ipc.pair()
    yield made
    for end in made:
        end.close()


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """This process may open nothing more."""
    bounds = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - numbers are enough
    taken = [os.dup(0)]
    while taken[-1] <= highest:
        taken.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1, bounds[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, bounds)
        for descriptor in taken:
            os.close(descriptor)


def test_message_comes_whole_with_its_descriptor_which_no_program_inherits(ends: Ends) -> None:
    """The pieces are one message; the descriptor is another number for the same file."""
    reading, writing = os.pipe()
    assert ipc.send(ends[0], [b"a", b"bc"], reading)
    received = ipc.receive(ends[1], 100)
    assert received is not None
    data, descriptor = received
    assert data == b"abc"
    assert descriptor is not None
    assert not os.get_inheritable(descriptor)
    os.write(writing, b"x")
    assert os.read(descriptor, 1) == b"x"
    for one in (reading, writing, descriptor):
        os.close(one)


def test_end_that_has_nothing_yet_says_so(ends: Ends) -> None:
    """None, and no wait."""
    assert ipc.receive(ends[0], 100) is None


def test_end_that_is_behind_says_so(ends: Ends) -> None:
    """Nothing is lost: as many messages come as were sent."""
    sent = 0
    while ipc.send(ends[0], [b"x" * 1_000]):
        sent += 1
    assert sent > 0
    for _ in range(sent):
        assert ipc.receive(ends[1], 1_000) == (b"x" * 1_000, None)
    assert ipc.receive(ends[1], 1_000) is None


def test_closed_peer_is_an_error_for_both_directions(ends: Ends) -> None:
    """Whether something is received or sent."""
    ends[0].close()
    with pytest.raises(PeerClosed, match="closed"):
        ipc.receive(ends[1], 100)
    with pytest.raises(PeerClosed):
        ipc.send(ends[1], [b"x"])


@pytest.mark.parametrize("without_descriptor", [True, False])
def test_message_longer_than_allowed_is_cut_short_and_its_descriptor_closed(
    ends: Ends, without_descriptor: bool
) -> None:
    """What was cut is never taken for a message."""
    ipc.send(ends[0], [b"x" * 101], 0)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - numbers are enough
    with pytest.raises(PeerClosed, match="cut short"):
        ipc.receive(ends[1], 100, without_descriptor=without_descriptor)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_second_descriptor_is_cut_off(ends: Ends) -> None:
    """A message carries one at most."""
    socket.send_fds(ends[0], [b"x"], [0, 0])
    with pytest.raises(PeerClosed, match="cut short"):
        ipc.receive(ends[1], 100)


def test_lost_descriptor_counts_as_cut_short_unless_the_message_is_wanted_all_the_same(ends: Ends) -> None:
    """Where this process may open no more, the kernel drops it."""
    for _ in range(2):
        ipc.send(ends[0], [b"x"], 0)
    with no_more_descriptors():
        assert ipc.receive(ends[1], 100, without_descriptor=True) == (b"x", None)
        with pytest.raises(PeerClosed, match="cut short"):
            ipc.receive(ends[1], 100)


async def test_next_message_waits_for_one_that_comes_later(ends: Ends) -> None:
    """And for the peer that closes."""
    waiting = asyncio.create_task(ipc.next_message(ends[1], 100))
    await asyncio.sleep(0)
    ipc.send(ends[0], [b"x"])
    assert await waiting == (b"x", None)
    waiting = asyncio.create_task(ipc.next_message(ends[1], 100))
    await asyncio.sleep(0)
    ends[0].close()
    with pytest.raises(PeerClosed):
        await waiting


async def test_ready_waits_for_room(ends: Ends) -> None:
    """A peer that reads makes some."""
    while ipc.send(ends[0], [b"x" * 1_000]):
        pass
    waiting = asyncio.create_task(ipc.ready(ends[0], writable=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    while ipc.receive(ends[1], 1_000):
        pass
    await waiting
