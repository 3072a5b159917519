"""A deadline of a task: it ends what waits too long, and takes no other cancellation for its own."""

from __future__ import annotations

import asyncio

import pytest

from authz.deadline import Deadline

LONG = 600.0


async def waiting(seconds: float, began: asyncio.Event) -> None:
    """Wait inside a deadline for what never comes."""
    with Deadline(seconds):
        began.set()
        await asyncio.Event().wait()


async def test_what_waits_too_long_is_ended_by_a_timeout() -> None:
    """And the task itself goes on."""
    with pytest.raises(TimeoutError):
        await waiting(0.0, asyncio.Event())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_what_ends_in_time_is_left_alone() -> None:
    """The timer is gone with it."""
    with Deadline(0.0):
        pass
    await asyncio.sleep(0.001)


async def test_error_inside_is_passed_on() -> None:
    """As it is."""
    with pytest.raises(ZeroDivisionError), Deadline(LONG):
        raise ZeroDivisionError


@pytest.mark.parametrize("seconds", [LONG, 0.0], ids=["before the end of the time", "with it"])
async def test_cancellation_by_somebody_else_is_passed_on(seconds: float) -> None:
    """Also if both come in one turn of the loop."""
    began = asyncio.Event()
    task = asyncio.create_task(waiting(seconds, began))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_inner_deadline_ends_first() -> None:
    """The outer one goes on, and holds."""

    async def both() -> None:
        with Deadline(0.01):
            with pytest.raises(TimeoutError):
                await waiting(0.0, asyncio.Event())
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await both()


def test_no_task_is_an_error() -> None:
    """There is nothing to bound."""
    with pytest.raises(RuntimeError), Deadline(LONG):
        pass
