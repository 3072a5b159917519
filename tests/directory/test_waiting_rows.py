"""Rows that wait are read in turns, each once, and no organization's are without bound."""

from __future__ import annotations

import asyncio

import pytest

from authz.directory.keys import RowKey, UserKey
from authz.directory.waiting_rows import MAX_BATCH, MAX_WAITING_EACH, WaitingRows
from authz.errors import Refused
from authz.reasons import Reason


async def waiting(rows: WaitingRows, *keys: RowKey) -> list[asyncio.Task[None]]:
    """Checks that wait for rows."""
    tasks = [asyncio.create_task(rows.wait_for(key)) for key in keys]
    await asyncio.sleep(0)
    return tasks


async def test_batch_takes_of_each_organization_in_turn() -> None:
    """Who has one row that waits does not wait behind another's hundred."""
    rows = WaitingRows()
    tasks = await waiting(rows, *(UserKey(1, f"u{number}") for number in range(100)), UserKey(2, "alice"))
    await rows.asked()
    batch = rows.next_batch()
    assert (len(batch), UserKey(2, "alice") in batch) == (MAX_BATCH, True)
    while batch:
        for key in batch:
            rows.settle(key, None)
        batch = rows.next_batch()
    await asyncio.gather(*tasks)


async def test_checks_that_wait_for_one_row_share_it_and_its_refusal() -> None:
    """Each gets an error of its own, for a traceback is added to it; then nothing waits."""
    rows = WaitingRows()
    tasks = await waiting(rows, UserKey(1, "a"), UserKey(1, "a"))
    [key] = rows.next_batch()
    rows.settle(key, Refused(Reason.DIRECTORY_UNAVAILABLE, "away"))
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) for error in errors] == ["directory_unavailable: away"] * 2
    assert rows.next_batch() == []


async def test_rows_beyond_the_bound_of_an_organization_are_refused() -> None:
    """Another's are not."""
    rows = WaitingRows()
    tasks = await waiting(rows, *(UserKey(1, f"u{number}") for number in range(MAX_WAITING_EACH)))
    with pytest.raises(Refused) as caught:
        await rows.wait_for(UserKey(1, "another"))
    assert caught.value.reason is Reason.OVERLOADED
    tasks += await waiting(rows, UserKey(2, "alice"))
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
