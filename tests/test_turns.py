"""One turn in each iteration of the event loop, and the tenants that wait one after the other."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from authz.turns import Turns


async def test_turn_is_taken_once_in_an_iteration() -> None:
    """And is free again in the next."""
    turns = Turns()
    assert [turns.take(), turns.take()] == [True, False]
    await asyncio.sleep(0)
    assert turns.take()


async def test_tenants_have_their_turns_one_after_the_other() -> None:
    """One in each iteration, however many of one tenant wait; meanwhile no other finds one."""
    turns = Turns()
    had: list[str] = []

    async def ask(tenant: str) -> None:
        await turns.wait(tenant)
        had.append(tenant)

    asked = [asyncio.create_task(ask(tenant)) for tenant in ("a", "a", "a", "a", "b", "b", "c")]
    counts = []
    while len(had) < len(asked):
        await asyncio.sleep(0)
        counts.append(len(had))
        assert turns.take() is (len(had) == len(asked))
    assert had == ["a", "a", "b", "c", "a", "b", "a"]
    assert max(later - before for before, later in itertools.pairwise(counts)) == 1


async def test_turn_of_whom_gives_up_is_the_next_one_s() -> None:
    """No iteration passes without a turn, and nothing of it stays."""
    turns = Turns()
    first, gone, stays = (asyncio.create_task(turns.wait(tenant)) for tenant in "abc")
    await asyncio.sleep(0)
    assert (first.done(), gone.done()) == (True, False)
    gone.cancel()
    await stays
    for _ in range(3):
        await asyncio.sleep(0)
    assert turns.take()
    assert not turns._waiting


async def test_turn_that_cannot_be_passed_on_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and may lack for a moment: else no new certificate would be verified ever again."""

    def fail(*_: object) -> None:
        raise MemoryError

    turns = Turns()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_soon", fail)
    with pytest.raises(MemoryError):
        turns.take()
    monkeypatch.undo()
    assert turns.take()
