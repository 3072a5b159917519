"""Messages between the process that keeps the CRLs and those that look at them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from authz.crls.share.protocol import Kind, Link, LinkLost, packed, unpacked

Ends = tuple[Link, Link]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """Both ends."""
    made = [Link(one) for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
    yield made[0], made[1]
    for one in made:
        one.close()


async def test_message_arrives_whole(ends: Ends) -> None:
    """Kind, number and octets, and a descriptor that no child inherits."""
    reading, writing = os.pipe()
    await ends[0].send(Kind.CRL, 7, b"octets", reading)
    found = await ends[1].receive()
    assert (found.kind, found.number, found.body) == (Kind.CRL, 7, b"octets")
    assert found.descriptor is not None
    assert not os.get_inheritable(found.descriptor)
    os.write(writing, b"x")
    assert os.read(found.descriptor, 1) == b"x"
    for one in (reading, writing, found.descriptor):
        os.close(one)


async def test_message_without_octets_is_one(ends: Ends) -> None:
    """Kind and number alone."""
    await ends[0].send(Kind.CURRENT, 2**63)
    assert (await ends[1].receive()).number == 2**63


async def test_whoever_waits_is_woken(ends: Ends) -> None:
    """By a message that comes later."""
    waiting = asyncio.create_task(ends[1].receive())
    await asyncio.sleep(0)
    await ends[0].send(Kind.ANSWER, 1)
    assert (await waiting).number == 1


async def test_other_end_that_is_behind_is_told_and_waited_for(ends: Ends) -> None:
    """`try_to_send` says so, `send` waits for room."""
    sent = 0
    while ends[0].try_to_send(Kind.MET, sent):
        sent += 1
    waiting = asyncio.create_task(ends[0].send(Kind.MET, sent))
    found = [(await ends[1].receive()).number for _ in range(sent + 1)]
    await waiting
    assert found == list(range(sent + 1))


async def test_end_of_the_other_end_is_heard_and_felt(ends: Ends) -> None:
    """By whoever listens, and by whoever speaks."""
    ends[0].close()
    with pytest.raises(LinkLost):
        await ends[1].receive()
    with pytest.raises(LinkLost):
        ends[1].try_to_send(Kind.ANSWER)


def test_packed_pieces_come_back() -> None:
    """Also empty ones."""
    pieces = [b"", b"a", b"b" * 70_000]
    assert unpacked(b"".join(packed(pieces))) == pieces
    assert unpacked(b"") == []


@pytest.mark.parametrize("data", [b"\1", b"\5\0\0\0abc"])
def test_pieces_that_are_cut_short_are_an_error(data: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="cut short"):
        unpacked(data)
