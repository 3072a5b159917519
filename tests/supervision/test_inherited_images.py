"""What children give the supervisor to keep: images of CRLs, as descriptors, of which none is lost and none left."""

from __future__ import annotations

import os
from pathlib import Path

from support.clocked_supervisor import Crew

from authz.supervision.control import send

NAME = "ab" * 32


def tell_of(crew: Crew, what: dict[str, str], descriptor: int | None = None) -> None:
    """The manager tells the supervisor something."""
    assert send(crew.ends[crew.manager], descriptor, what)
    crew.turn()


def opened() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_image_is_kept_until_it_is_dropped(crew: Crew) -> None:
    """One of each."""
    before = opened()
    for _ in range(2):
        tell_of(crew, {"image": NAME}, 0)
    assert (list(crew.made._images), opened()) == ([bytes.fromhex(NAME)], before + 1)
    for _ in range(2):
        tell_of(crew, {"dropped": NAME})
    assert (list(crew.made._images), opened()) == ([], before)


def test_image_whose_descriptor_was_lost_is_not_kept(crew: Crew) -> None:
    """The next manager makes it again; the one that is kept already stays."""
    tell_of(crew, {"image": NAME})
    assert crew.made._images == {}
    tell_of(crew, {"image": NAME}, 0)
    (kept,) = crew.made._images.values()
    tell_of(crew, {"image": NAME})
    assert crew.made._images == {bytes.fromhex(NAME): kept}
    os.fstat(kept)


def test_descriptor_that_was_not_asked_for_is_closed(crew: Crew) -> None:
    """As another version may send it."""
    before = opened()
    tell_of(crew, {"something": "new"}, 0)
    assert opened() == before
    assert crew.made.upgrade.settled
