"""Paths that workers tell of, read in turns: no flood silences the keeper, and none keeps another's path waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from authz.crls.share.path_queue import MAX_QUEUED_EACH, OVERHEAD, PathQueue

EVIL, ACME, GLOBEX = 1, 2, 3


@pytest.fixture
async def desk() -> AsyncIterator[PathQueue]:
    """A desk at which paths are read."""
    made = PathQueue()
    serving = asyncio.create_task(made.serve())
    yield made
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def test_organizations_take_turns(desk: PathQueue) -> None:
    """An organization with many paths, from however many workers, delays another's by one."""
    read: list[int] = []
    done = asyncio.Event()
    for organization in [EVIL] * 40 + [ACME, GLOBEX]:
        desk.put(organization, 99, lambda one=organization: read.append(one))  # type: ignore[misc]
    desk.put(EVIL, 99, done.set)
    await done.wait()
    assert read[:4] == [EVIL, ACME, GLOBEX, EVIL]
    assert len(read) == 42


async def test_everybody_else_goes_on_between_two_paths(desk: PathQueue) -> None:
    """The word that CRLs are current among them."""
    others, seen = 0, list[int]()
    for _ in range(20):
        desk.put(EVIL, 99, lambda: seen.append(others))
    while len(seen) < 20:
        others += 1
        await asyncio.sleep(0)
    assert len(set(seen)) == 20


async def test_paths_of_one_organization_that_wait_are_bounded_in_octets() -> None:
    """By what they take; another organization's have room of their own, and what was read makes room again."""
    desk, half = PathQueue(), MAX_QUEUED_EACH // 2 - OVERHEAD
    read = asyncio.Event()
    assert desk.put(EVIL, half, read.set)
    assert desk.put(EVIL, half, lambda: None)
    assert not desk.put(EVIL, 0, lambda: None)
    assert desk.put(ACME, half, lambda: None)
    serving = asyncio.create_task(desk.serve())
    await read.wait()
    assert desk.put(EVIL, half, lambda: None)
    while desk._queues:
        await asyncio.sleep(0)
    assert not desk._sizes
    serving.cancel()
