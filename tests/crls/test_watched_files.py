"""What is looked at where the operator keeps CRLs, also when a file system hangs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import NOW, Authority

from authz.crls import watched_files
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.sources import CrlSources
from authz.crls.watched_files import WatchedFiles, copy_file, scan

SCAN = watched_files.scan


class Scene:
    """Two folders, a look at which may hang, and the warnings about them."""

    def __init__(self, place: Path) -> None:
        self.one, self.two = place / "one", place / "two"
        for made in (self.one, self.two):
            made.mkdir()
            (made / "a.crl").write_bytes(b"x")
        self.warnings: list[str] = []
        self.gone: list[str] = []
        self.sources = CrlSources((), 9, self.warnings.append)
        self.looks = 0
        self.free = threading.Event()
        self.free.set()

    def files(self, *paths: Path) -> WatchedFiles:
        """What looks at them."""
        return WatchedFiles(paths, self.sources, lambda one: self.gone.append(one.location), self.warnings.append)

    def scan(self, paths: Iterable[Path]) -> dict[Path, watched_files.Stamp | None]:
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
    """Nothing hangs yet; if something does, nothing waits for it."""
    made = Scene(tmp_path)
    monkeypatch.setattr(watched_files, "scan", made.scan)
    yield made
    made.free.set()


def now() -> datetime:
    """The moment."""
    return NOW


async def look_until(looked_at: WatchedFiles, holds: Callable[[], bool]) -> None:
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
    looked_at = WatchedFiles((), CrlSources((), 9, print), print, print)
    await looked_at.look(now)
    assert looked_at.looked


async def test_look_that_hangs_is_logged_once_and_left_to_itself(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other is begun; what was found stays, and what changed meanwhile is found when it ends."""
    looked_at = scene.files(scene.one, scene.two)
    await looked_at.look(now)
    assert len(scene.due) == 2
    scene.free.clear()
    monkeypatch.setattr(watched_files, "PATIENCE_SECONDS", 0.01)
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
    """Closing waits for nothing."""
    scene.free.clear()
    monkeypatch.setattr(watched_files, "PATIENCE_SECONDS", 0.01)
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
async def test_defect_of_a_look_is_reported_and_the_next_one_looks_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for an empty folder."""

    def broken(_paths: Iterable[Path]) -> dict[Path, watched_files.Stamp | None]:
        raise MemoryError

    looked_at = scene.files(scene.one)
    monkeypatch.setattr(watched_files, "scan", broken)
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


# What is found, and copied.

CRL = Authority.root("CA").crl()
PEM = x509.load_der_x509_crl(CRL).public_bytes(Encoding.PEM)


def test_folder_is_its_files_and_a_file_is_itself(tmp_path: Path) -> None:
    """Without what begins with a dot, and without folders in it."""
    for name in ("b.crl", "a.pem", ".hidden"):
        (tmp_path / name).write_bytes(CRL)
    (tmp_path / "below").mkdir()
    assert list(scan([tmp_path])) == [tmp_path / "a.pem", tmp_path / "b.crl"]
    assert list(scan([tmp_path / "b.crl"])) == [tmp_path / "b.crl"]


def test_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """In place, or by another that takes its name, as mounted volumes swap theirs."""
    file, other = tmp_path / "a.crl", tmp_path / "new"
    file.write_bytes(CRL)
    first = scan([file])[file]
    file.write_bytes(PEM)
    second = scan([file])[file]
    other.write_bytes(PEM)
    other.replace(file)
    assert len({first, second, scan([file])[file]}) == 3


@pytest.mark.parametrize("what", ["missing", "dangling link"])
def test_name_without_a_file_has_no_stamp(tmp_path: Path, what: str) -> None:
    """It may come yet."""
    if what == "dangling link":
        (tmp_path / what).symlink_to(tmp_path / "nowhere")
    assert scan([tmp_path / what]) == {tmp_path / what: None}


@pytest.mark.parametrize("body", [CRL, PEM])
def test_copy_is_der(tmp_path: Path, body: bytes) -> None:
    """Whatever the file is in, which stays as it is."""
    (tmp_path / "a").write_bytes(body)
    made = copy_file(tmp_path / "a", tmp_path, 1 << 20)
    assert made.read_bytes() == CRL
    assert (tmp_path / "a").read_bytes() == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"", FailureKind.EMPTY), (b"<html>", FailureKind.NOT_A_CRL), (b"\x30" * 2_000, FailureKind.TOO_LARGE)],
)
def test_file_that_is_no_crl_leaves_no_copy_file(tmp_path: Path, body: bytes, expected: FailureKind) -> None:
    """Nor one that is too large."""
    (tmp_path / "a").write_bytes(body)
    with pytest.raises(FetchFailed) as caught:
        copy_file(tmp_path / "a", tmp_path, 1_000)
    assert caught.value.kind is expected
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("kind", ["missing", "pipe", "folder"])
def test_what_is_no_file_is_reported(tmp_path: Path, kind: str) -> None:
    """And nothing waits for a pipe's writer."""
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(FetchFailed) as caught:
        copy_file(path, tmp_path, 1_000)
    assert caught.value.kind is FailureKind.FILE


def test_folder_without_room_is_storage(tmp_path: Path) -> None:
    """Ours, and not the operator's."""
    (tmp_path / "a").write_bytes(CRL)
    with pytest.raises(FetchFailed) as caught:
        copy_file(tmp_path / "a", tmp_path / "gone", 1 << 20)
    assert caught.value.kind is FailureKind.STORAGE
