"""What supervisor and children tell each other."""

from __future__ import annotations

import os
import resource
from socket import SO_SNDBUF, SOL_SOCKET, socket

import pytest

from authz.ipc import PeerClosed
from authz.supervision.control import MAX_BYTES, ControlMessage, receive, send

Ends = tuple[socket, socket]


def test_message_arrives(ends: Ends) -> None:
    """And nothing after it."""
    assert send(ends[0], None, {"ready": True})
    told = receive(ends[1])
    assert told is not None
    assert (told.content, told.descriptor) == ({"ready": True}, None)
    assert receive(ends[1]) is None


def test_descriptor_arrives_and_is_not_inherited(ends: Ends) -> None:
    """By what a child starts."""
    reading, writing = os.pipe()
    assert send(ends[0], reading, {"image": "00"})
    told = receive(ends[1])
    assert told is not None
    assert told.descriptor is not None
    assert not os.get_inheritable(told.descriptor)
    for one in (reading, writing, told.descriptor):
        os.close(one)


def test_end_of_the_other_end_is_heard(ends: Ends) -> None:
    """And speaking to it is no error."""
    ends[0].close()
    with pytest.raises(PeerClosed):
        receive(ends[1])
    assert not send(ends[1], None, {})


def test_other_end_that_is_behind_is_not_waited_for(ends: Ends) -> None:
    """A child that hangs must not stop the supervisor."""
    while send(ends[0], None, {"ready": True}):
        pass
    assert receive(ends[1]) is not None


def test_descriptor_that_is_lost_on_the_way_takes_no_message_with_it(ends: Ends) -> None:
    """A process that may open nothing more learns that there was something."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert send(ends[0], ends[0].fileno(), {"link": True})
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        told = receive(ends[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert told == ControlMessage({"link": True}, None)


def test_message_that_is_cut_short_ends_the_conversation_and_keeps_no_descriptor(ends: Ends) -> None:
    """Half of a message is nothing."""
    ends[0].setsockopt(SOL_SOCKET, SO_SNDBUF, 4 * MAX_BYTES)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    assert send(ends[0], writing, {"long": "x" * MAX_BYTES})
    os.close(writing)
    with pytest.raises(PeerClosed):
        receive(ends[1])
    assert os.read(reading, 1) == b""
    os.close(reading)
