"""A wait for a thread that is ended from outside."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from authz.directory.interrupted import interrupted_after, interrupted_every


async def test_what_takes_too_long_is_interrupted_and_waited_for() -> None:
    """The thread itself ends, so that nothing is left behind."""
    released = threading.Event()

    def wait() -> str:
        assert released.wait(60)
        return "released"

    assert await interrupted_after(0.0, released.set, asyncio.to_thread(wait)) == "released"


async def test_what_ends_in_time_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its result nor its error lets the timer go on."""

    async def fail() -> None:
        raise OSError("the test's own")

    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda *words: timers.append(call_later(*words)) or timers[-1])
    assert await interrupted_after(60, pytest.fail, asyncio.wrap_future(done("in time"))) == "in time"
    with pytest.raises(OSError, match="own"):
        await interrupted_after(60, pytest.fail, fail())
    assert [timer.cancelled() for timer in timers] == [True, True]


async def test_wait_is_interrupted_until_it_ends() -> None:
    """A connection that was made anew may hang as the one before did; afterwards nothing is interrupted."""
    times = 0
    ended = asyncio.Event()

    def interrupt() -> None:
        nonlocal times
        times += 1
        if times == 3:
            ended.set()

    with interrupted_every(0.0, interrupt):
        await ended.wait()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert times == 3


def done(result: str) -> Future[str]:
    """A result that is there."""
    future: Future[str] = Future()
    future.set_result(result)
    return future
