"""What is looked at where the operator keeps CRLs, also when a file system hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from pki_factory import NOW

from authz.crl_source import files, folder
from authz.crl_source.files import Files, Found
from authz.crl_source.sources import Sources


class Scene:
    """Two folders, one of which may hang, and what was told of them."""

    def __init__(self, place: Path) -> None:
        self.good, self.bad = place / "good", place / "bad"
        for one in (self.good, self.bad):
            one.mkdir()
            (one / "a.crl").write_bytes(b"x")
        self.warnings: list[str] = []
        self.gone: list[str] = []
        self.sources = Sources((), 9, self.warnings.append)
        self.hangs = {self.bad}
        self.free = threading.Event()
        self.free.set()

    def files(self, *paths: Path) -> Files:
        """What looks at them."""
        return Files(paths, self.sources, lambda one: self.gone.append(one.location), self.warnings.append)

    def scan(self, paths: list[Path]) -> Found:
        """As the real one does, unless it hangs."""
        if any(one in self.hangs or one.parent in self.hangs for one in paths):
            self.free.wait()
        return SCAN(paths)

    @property
    def hanging(self) -> int:
        """Looks that go on."""
        return sum(one.name.startswith(f"look at {self.bad}") for one in threading.enumerate())

    @property
    def due(self) -> set[str]:
        """Sources that are due; from now on they are not."""
        found = {one.location for one in self.sources if one.next_at is not None}
        for one in self.sources:
            one.next_at = None
        return found


SCAN = folder.scan


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Nothing hangs yet."""
    made = Scene(tmp_path)
    monkeypatch.setattr(folder, "scan", made.scan)
    yield made
    made.free.set()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it; a thread that has told all takes a moment to end."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.001)


def now() -> datetime:
    """The moment."""
    return NOW


async def test_file_is_due_when_it_is_new_or_another(scene: Scene) -> None:
    """And gone when it is there no more."""
    looked_at = scene.files(scene.good, scene.bad)
    assert not looked_at.looked
    await looked_at.look(now)
    good, bad = str(scene.good / "a.crl"), str(scene.bad / "a.crl")
    assert looked_at.looked
    assert scene.due == {good, bad}
    await looked_at.look(now)
    assert scene.due == set()
    (scene.good / "a.crl").write_bytes(b"longer")
    (scene.bad / "a.crl").unlink()
    await looked_at.look(now)
    assert scene.due == {good}
    assert scene.gone == [bad]


async def test_folder_that_hangs_holds_up_no_other_and_is_told_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found in it stays, and what changed meanwhile is found when it answers again."""
    looked_at = scene.files(scene.bad, scene.good)
    await looked_at.look(now)
    assert len(scene.due) == 2
    scene.free.clear()
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.01)
    for _ in range(3):
        await looked_at.look(now)
    assert [str(scene.bad) in one for one in scene.warnings] == [True]
    assert not scene.gone
    for one in (scene.good, scene.bad):
        (one / "b.crl").write_bytes(b"y")
    monkeypatch.undo()
    monkeypatch.setattr(folder, "scan", scene.scan)
    await looked_at.look(now)
    assert scene.due == {str(scene.good / "b.crl")}
    scene.free.set()
    while not scene.due:
        await looked_at.look(now)
    assert {one.location for one in scene.sources} >= {str(scene.bad / "b.crl")}
    assert len(scene.warnings) == 1


async def test_folder_that_hangs_from_the_start_was_not_looked_at(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing waits for nobody."""
    scene.free.clear()
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.01)
    looked_at = scene.files(scene.bad)
    await looked_at.look(now)
    assert not looked_at.looked
    looked_at.close()


async def test_files_that_hang_leave_room_for_others(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one folder hang together; of all that hang, no more than so many are waited for."""
    several = [scene.bad / f"{number}.crl" for number in range(99)]
    looked_at = scene.files(*several, scene.good)
    await looked_at.look(now)
    scene.free.clear()
    monkeypatch.setattr(files, "PATIENCE_SECONDS", 0.01)
    for _ in range(3):
        await looked_at.look(now)
    await until(lambda: scene.hanging == 1)
    folders = [tmp_path / f"bad{number}" for number in range(99)]
    scene.hangs = set(folders)
    looked_at = scene.files(*folders, scene.good)
    for _ in range(3):
        await looked_at.look(now)
    await until(lambda: scene.hanging == 1 + files.MAX_LOOKS)
    assert str(scene.good / "a.crl") in scene.due


async def test_look_that_cannot_be_begun_is_begun_the_next_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there may be no more threads for a while."""

    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    looked_at = scene.files(scene.good)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            await looked_at.look(now)
    await looked_at.look(now)
    assert looked_at.looked


async def test_look_that_was_ended_leaves_nothing_undone(scene: Scene) -> None:
    """What it had begun is taken over by the next."""
    scene.free.clear()
    looked_at = scene.files(scene.good, scene.bad)
    ended = asyncio.create_task(looked_at.look(now))
    await until(lambda: scene.hanging == 1)
    ended.cancel()
    await asyncio.gather(ended, return_exceptions=True)
    scene.free.set()
    async with asyncio.timeout(60):
        while not looked_at.looked:
            await looked_at.look(now)
    assert not scene.warnings


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_defect_of_a_look_is_told_and_the_next_one_looks_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for an empty folder."""

    def broken(_paths: list[Path]) -> Found:
        raise MemoryError

    looked_at = scene.files(scene.good)
    monkeypatch.setattr(folder, "scan", broken)
    with pytest.raises(MemoryError):
        await looked_at.look(now)
    for one in threading.enumerate():
        if one.name.startswith("look at"):
            one.join()  # within this test, which alone expects its trace
    assert not looked_at.looked
    monkeypatch.undo()
    await looked_at.look(now)
    assert looked_at.looked
    assert not scene.gone
