"""What every writer beside the checks does: begin, write much at once, end, and report a failure once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.directory import make_directory

from authz.clock import SystemClock
from authz.directory.background_writer import BackgroundWriter


class Writer(BackgroundWriter):
    """Counts what it would write; fails while `problem` is set."""

    def __init__(self, url: str) -> None:
        self.warnings: list[str] = []
        warn = self.warnings.append
        super().__init__(url, SystemClock(), what="it", seconds=3_600, lost=lambda _: None, warn=warn)
        self.problem: Exception | None = None
        self.written = 0
        self.flushed = asyncio.Event()

    async def flush(self) -> None:
        """See `BackgroundWriter`."""
        self._full.clear()
        await self._attempt(self._write)
        self.flushed.set()

    def fill(self) -> None:
        """There is much to write."""
        self._full.set()

    def _write(self) -> None:
        if self.problem is not None:
            raise self.problem
        self.written += 1


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    """One for a new directory."""
    make_directory(tmp_path / "a.db")
    return Writer(f"sqlite:///{tmp_path / 'a.db'}")


async def test_what_is_left_is_written_at_the_end(writer: Writer) -> None:
    """Also where it never began."""
    await writer.close()
    assert writer.written == 1


async def test_much_is_written_at_once(writer: Writer) -> None:
    """Long before its time."""
    writer.start()
    writer.fill()
    await writer.flushed.wait()
    assert writer.written == 1
    await writer.close()
    assert writer.written == 2


async def test_failure_is_reported_once_until_it_is_over(writer: Writer) -> None:
    """Whatever the error, and with its words."""
    for problem in (OSError("no room"), ValueError("no moment"), None, OSError("no room")):
        writer.problem = problem
        await writer.flush()
    assert writer.warnings == ["it cannot be written: no room"] * 2
    writer.problem = None
    await writer.close()


async def test_defect_is_not_taken_for_a_failure_of_the_directory(writer: Writer) -> None:
    """It is raised where the write was begun."""
    writer.problem = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await writer.flush()


@pytest.mark.parametrize("turns", range(3))
async def test_end_is_not_lost_where_much_is_to_be_written(writer: Writer, turns: int) -> None:
    """Whatever the writer does with it in the turns of the loop between."""
    writer.start()
    await asyncio.sleep(0)
    writer.fill()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(60):  # so that it fails, and does not hang
        await writer.close()
    assert writer.written > 0
