"""Work in threads that nothing waits for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from authz.blocking_calls import run_in_daemon_thread
from authz.crls.failures import FailureKind, FetchFailed


async def test_result_is_reported_as_often_as_there_is_work() -> None:
    """More at a time than any pool has threads."""
    together = threading.Barrier(50)

    def work(number: int) -> int:
        together.wait()
        return number

    works = [run_in_daemon_thread(lambda number=number: work(number), "work") for number in range(50)]  # type: ignore[misc]
    assert await asyncio.gather(*works) == list(range(50))


@pytest.mark.parametrize("error", [OSError("away"), ValueError("odd"), FetchFailed(FailureKind.FILE, "gone")])
async def test_error_is_reported(error: Exception) -> None:
    """It is raised where the result is awaited."""

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await run_in_daemon_thread(fail, "work")
    assert caught.value is error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_defect_is_reported_as_well() -> None:
    """And leaves its trace where threads leave theirs."""

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_in_daemon_thread(fail, "defect")
    for one in threading.enumerate():
        if one.name == "defect":
            one.join()  # within this test, which alone expects its trace


async def test_work_that_was_given_up_reports_nothing() -> None:
    """It goes on, and comes to nothing."""
    free, done = threading.Event(), threading.Event()

    def work() -> None:
        free.wait()
        done.set()

    one = run_in_daemon_thread(work, "work")
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    free.set()
    await asyncio.to_thread(done.wait)
    await asyncio.sleep(0)
    assert one.cancelled()


def test_process_ends_while_work_hangs() -> None:
    """Threads of a pool would be waited for."""
    code = "import asyncio, time\nfrom authz.blocking_calls import run_in_daemon_thread\n"
    code += "async def main(): run_in_daemon_thread(lambda: time.sleep(3600), '')\n"
    ended = subprocess.run([sys.executable, "-c", code + "asyncio.run(main())"], timeout=60, check=False)
    assert ended.returncode == 0
