"""The operator's files and folders of CRLs: polled, and due to be read again when they change.

Polled on purpose: the kernel reports no change on network file systems, nor of the links by which Kubernetes swaps a
volume's content.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from authz.blocking_calls import run_in_daemon_thread
from authz.crls.disk_store import TEMPORARY
from authz.crls.failures import FailureKind, FetchFailed, raised_as
from authz.crls.fetch.crl_file import NotACrl, into_der
from authz.crls.sources import CrlSource, CrlSources

MAX_FILES: Final = 10_000
"""Files of one folder that are looked at: one CRL each is more CAs than any operator has."""

Stamp = tuple[int, int, int, int]
"""Device, inode, size, and when it was changed, in nanoseconds."""


def scan(named: Iterable[Path]) -> dict[Path, Stamp | None]:
    """The files named, and those in the folders named; None for a name under which nothing can be read.

    What begins with a dot in a folder is left out: it is unfinished, or not meant.
    """
    files: dict[Path, Stamp | None] = {}
    for path in named:
        status = _status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            files.update(_in_folder(path))
        else:
            files[path] = None if status is None else _stamp(status)
    return files


def _in_folder(folder: Path) -> dict[Path, Stamp | None]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError:
        return {folder: None}
    statuses = ((folder / name, _status(folder / name)) for name in names[:MAX_FILES])
    return {
        path: _stamp(status) for path, status in statuses if status is not None and not stat.S_ISDIR(status.st_mode)
    }


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def copy_file(path: Path, folder: Path, limit: int) -> Path:
    """A copy of the file in `folder`, in DER; it is the caller's to remove.

    Read once, so that what is verified is what is kept, whatever becomes of the file. Raises `FetchFailed`.
    """
    with raised_as(_FILE), _opened(path) as source:
        size = os.fstat(source.fileno()).st_size
        if size > limit:
            raise FetchFailed(FailureKind.TOO_LARGE, f"{path} has more than {limit} bytes")
        if not size:
            raise FetchFailed(FailureKind.EMPTY, f"{path} is empty")
        with raised_as(_STORAGE):
            descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
        made = Path(name)
        try:
            with raised_as(_STORAGE), os.fdopen(descriptor, "wb") as target:
                shutil.copyfileobj(source, target)
            with raised_as(_NOT_A_CRL):
                into_der(made)
        except BaseException:
            made.unlink(missing_ok=True)
            raise
    return made


def _opened(path: Path) -> BinaryIO:
    # Without O_NONBLOCK opening a named pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FetchFailed(FailureKind.FILE, f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


_FILE: Final = (((OSError,), FailureKind.FILE),)
_STORAGE: Final = (((OSError,), FailureKind.STORAGE),)
_NOT_A_CRL: Final = (((NotACrl,), FailureKind.NOT_A_CRL),)


PATIENCE_SECONDS: Final = 1.0
"""How long a look is waited for: a network file system may hang for hours when its server is unreachable."""


class WatchedFiles:
    """The files below `paths`, as sources; `gone` is called with a removed one, `warn` reports a look that hangs.

    Such a look holds up no source of another kind: it goes on by itself, no other is begun, and what was found
    before stays. `looked` says whether all were looked at once.
    """

    def __init__(
        self, paths: Sequence[Path], sources: CrlSources, gone: Callable[[CrlSource], None], warn: Callable[[str], None]
    ) -> None:
        self._paths = paths
        self._sources = sources
        self._gone = gone
        self._warn = warn
        self._look: asyncio.Future[dict[Path, Stamp | None]] | None = None
        self._late = False
        self._stamps: dict[Path, Stamp | None] = {}
        self.looked = not paths

    async def look(self, now: Callable[[], datetime]) -> None:
        """What changed since the last look is due."""
        if not self._paths:
            return
        if self._look is None:
            self._look = run_in_daemon_thread(partial(scan, self._paths), "look for CRLs")
        if not self._late:
            await asyncio.wait({self._look}, timeout=PATIENCE_SECONDS)
        if not self._look.done():
            self._warn_late()
            return
        look, self._look, self._late = self._look, None, False
        self._take(look.result(), now)

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._look is not None:
            self._look.cancel()

    def _warn_late(self) -> None:
        if not self._late:
            self._late = True
            places = ", ".join(map(str, self._paths[:9]))
            self._warn(f"a file or folder of CRLs does not answer, none is read until it does: one of {places}")

    def _take(self, stamps: dict[Path, Stamp | None], now: Callable[[], datetime]) -> None:
        for path, stamp in stamps.items():
            if self._stamps.get(path, ()) != stamp:
                self._sources.file(path).next_at = now()
        for path in self._stamps.keys() - stamps.keys():
            source = self._sources.file(path)
            self._sources.remove(source)
            self._gone(source)
        self._stamps = stamps
        self.looked = True
