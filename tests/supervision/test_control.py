"""What supervisor and children tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from socket import socket

import pytest

from authz.supervision.control import Gone, hear, pair, tell

Ends = tuple[socket, socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends."""
    ours, theirs = pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_message_arrives(ends: Ends) -> None:
    """And nothing after it."""
    assert tell(ends[0], None, {"ready": True})
    told = hear(ends[1])
    assert told is not None
    assert (told.what, told.descriptor) == ({"ready": True}, None)
    assert hear(ends[1]) is None


def test_descriptor_arrives_and_is_not_inherited(ends: Ends) -> None:
    """By what a child starts."""
    reading, writing = os.pipe()
    assert tell(ends[0], reading, {"image": "00"})
    told = hear(ends[1])
    assert told is not None
    assert told.descriptor is not None
    assert not os.get_inheritable(told.descriptor)
    for one in (reading, writing, told.descriptor):
        os.close(one)


def test_end_of_the_other_end_is_heard(ends: Ends) -> None:
    """And speaking to it is no error."""
    ends[0].close()
    with pytest.raises(Gone):
        hear(ends[1])
    assert not tell(ends[1], None, {})


def test_other_end_that_is_behind_is_not_waited_for(ends: Ends) -> None:
    """A child that hangs must not stop the supervisor."""
    while tell(ends[0], None, {"ready": True}):
        pass
    assert hear(ends[1]) is not None
