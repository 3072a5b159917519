"""Blocking calls in one thread, in turn, whose results come to the event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from authz.directory.working_thread import WorkingThread


async def test_calls_are_made_in_turn_in_one_other_thread() -> None:
    """A connection that is not thread-safe is used by one."""
    thread, made = WorkingThread("work"), []
    before = threading.active_count()
    for number in range(20):
        thread.call(lambda number=number: made.append((number, threading.get_ident())))  # type: ignore[misc]
    ident = await thread.call(threading.get_ident)
    assert made == [(number, ident) for number in range(20)]
    assert ident != threading.get_ident()
    thread.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [OSError("away"), MemoryError(), asyncio.CancelledError()])
async def test_error_is_raised_where_the_result_is_awaited(error: BaseException) -> None:
    """And the thread goes on."""
    thread = WorkingThread("work")

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        await thread.call(fail)
    assert await thread.call(lambda: 1) == 1
    thread.close()


async def test_call_that_was_given_up_is_made_and_reports_nothing() -> None:
    """What closes a connection does so whatever becomes of its caller."""
    thread, free, made = WorkingThread("work"), threading.Event(), []
    thread.call(free.wait)
    given_up = thread.call(lambda: made.append(1))
    given_up.cancel()
    free.set()
    assert await thread.call(lambda: 2) == 2
    assert (made, given_up.cancelled()) == ([1], True)
    thread.close()


async def test_thread_that_was_closed_takes_no_call() -> None:
    """Its result would never come; one that was never used has nothing to close."""
    thread = WorkingThread("work")
    thread.close()
    with pytest.raises(RuntimeError, match="work was closed"):
        thread.call(print)


async def test_thread_that_could_not_begin_is_begun_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """And closes without waiting for what never ran."""
    thread = WorkingThread("work")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            thread.call(print)
    assert await thread.call(lambda: 1) == 1
    thread.close()


def test_loop_that_ended_meanwhile_is_no_failure() -> None:
    """The thread still closes."""
    thread, free = WorkingThread("work"), threading.Event()

    async def begin() -> None:
        thread.call(free.wait)

    asyncio.run(begin())
    free.set()
    thread.close()
