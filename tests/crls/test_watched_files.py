"""What is looked at where the operator keeps CRLs, also when a file system hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from support.certificates import NOW

from authz.crls import folder
from authz.crls import watched_files as files
from authz.crls.sources import Sources
from authz.crls.watched_files import Files

SCAN = folder.scan


class Scene:
    """Two folders, a look at which may hang, and what was told of them."""

    def __init__(self, place: Path) -> None:
        self.one, self.two = place / "one", place / "two"
        for made in (self.one, self.two):
            made.mkdir()
            (made / "a.crl").write_bytes(b"x")
        self.warnings: list[str] = []
        self.gone: list[str] = []
        self.sources = Sources((), 9, self.warnings.append)
        self.looks = 0
        self.free = threading.Event()
        self.free.set()

    def files(self, *paths: Path) -> Files:
        """What looks at them."""
        return Files(paths, self.sources, lambda one: self.gone.append(one.location), self.warnings.append)

    def scan(self, paths: Iterable[Path]) -> dict[Path, folder.Stamp | None]:
        """As the real one does, unless it hangs."""
        self.looks += 1
        self.free.wait()
        return SCAN(paths)

    @property
    def due(self) -> set[str]:
        """Sources that are due; from now on they are not."""
        found = {one.location for one in self.sources if one.next_at is not None}
        for one in self.sources:
            one.next_at = None
        return found


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Nothing hangs yet; if something does, nobody is patient."""
    made = Scene(tmp_path)
    monkeypatch.setattr(folder, "scan", made.scan)
    yield made
    made.free.set()


def now() -> datetime:
    """The moment."""
    return NOW


async def look_until(looked_at: Files, holds: Callable[[], bool]) -> None:
    """Look again and again, as the service does."""
    async with asyncio.timeout(60):
        while not holds():
            await looked_at.look(now)
            await asyncio.sleep(0.001)


async def test_file_is_due_when_it_is_new_or_another(scene: Scene) -> None:
    """And gone when it is there no more."""
    looked_at = scene.files(scene.one, scene.two)
    assert not looked_at.looked
    await looked_at.look(now)
    first, second = str(scene.one / "a.crl"), str(scene.two / "a.crl")
    assert looked_at.looked
    assert scene.due == {first, second}
    await looked_at.look(now)
    assert scene.due == set()
    (scene.one / "a.crl").write_bytes(b"longer")
    (scene.two / "a.crl").unlink()
    await looked_at.look(now)
    assert scene.due == {first}
    assert scene.gone == [second]


async def test_nothing_to_look_at_was_looked_at() -> None:
    """Readiness waits for nothing."""
    looked_at = Files((), Sources((), 9, print), print, print)
    await looked_at.look(now)
    assert looked_at.looked


async def test_look_that_hangs_is_told_once_and_left_to_itself(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other is begun; what was found stays, and what changed meanwhile is found when it ends."""
    looked_at = scene.files(scene.one, scene.two)
    await looked_at.look(now)
    assert len(scene.due) == 2
    scene.free.clear()
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.01)
    for _ in range(3):
        await looked_at.look(now)
    assert (scene.looks, len(scene.warnings)) == (2, 1)
    assert str(scene.two) in scene.warnings[0]
    assert not scene.gone
    (scene.two / "b.crl").write_bytes(b"y")
    scene.free.set()
    await look_until(looked_at, lambda: str(scene.two / "b.crl") in scene.due)
    scene.free.clear()
    await looked_at.look(now)
    assert len(scene.warnings) == 2


async def test_look_that_hangs_from_the_start_has_not_looked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for nobody."""
    scene.free.clear()
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.01)
    looked_at = scene.files(scene.one)
    await looked_at.look(now)
    assert not looked_at.looked
    assert len(list(scene.sources)) == 0
    looked_at.close()


async def test_look_that_was_ended_is_taken_over_by_the_next(scene: Scene) -> None:
    """The service's own look may be: by a defect elsewhere, after which it begins again."""
    scene.free.clear()
    looked_at = scene.files(scene.one)
    ended = asyncio.create_task(looked_at.look(now))
    async with asyncio.timeout(60):
        while not scene.looks:
            await asyncio.sleep(0.001)
    ended.cancel()
    await asyncio.gather(ended, return_exceptions=True)
    scene.free.set()
    await look_until(looked_at, lambda: looked_at.looked)
    assert scene.due == {str(scene.one / "a.crl")}


async def test_look_that_cannot_be_begun_is_begun_the_next_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there may be no more threads for a while."""

    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    looked_at = scene.files(scene.one)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            await looked_at.look(now)
    await looked_at.look(now)
    assert looked_at.looked


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_defect_of_a_look_is_told_and_the_next_one_looks_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for an empty folder."""

    def broken(_paths: Iterable[Path]) -> dict[Path, folder.Stamp | None]:
        raise MemoryError

    looked_at = scene.files(scene.one)
    monkeypatch.setattr(folder, "scan", broken)
    with pytest.raises(MemoryError):
        await looked_at.look(now)
    for one in threading.enumerate():
        if one.name == "look for CRLs":
            one.join()  # within this test, which alone expects its trace
    assert not looked_at.looked
    monkeypatch.undo()
    await looked_at.look(now)
    assert looked_at.looked
    assert not scene.gone
