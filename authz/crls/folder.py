"""Files and folders of CRLs that an operator named, looked at again and again: what is new or changed.

Without the kernel's help on purpose: it tells nothing of network file systems, nor of the links by which
Kubernetes swaps a volume's content.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from authz.crls.disk_store import TEMPORARY
from authz.crls.failures import FailureKind, FetchFailed, told_as
from authz.crls.fetch.crl_file import NotACrl, into_der

MAX_FILES: Final = 10_000
"""Files of one folder that are looked at: one CRL each is more CAs than anybody has."""

Stamp = tuple[int, int, int, int]
"""Device, inode, size, and when it was changed, in nanoseconds."""


def scan(named: Iterable[Path]) -> dict[Path, Stamp | None]:
    """The files named, and those in the folders named; None for a name under which nothing can be read.

    What begins with a dot in a folder is left out: it is unfinished, or not meant.
    """
    found: dict[Path, Stamp | None] = {}
    for path in named:
        status = _status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            found.update(_in_folder(path))
        else:
            found[path] = None if status is None else _stamp(status)
    return found


def _in_folder(folder: Path) -> dict[Path, Stamp | None]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(one.name for one in entries if not one.name.startswith("."))
    except OSError:
        return {folder: None}
    found = ((folder / name, _status(folder / name)) for name in names[:MAX_FILES])
    return {path: _stamp(one) for path, one in found if one is not None and not stat.S_ISDIR(one.st_mode)}


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def copy(path: Path, folder: Path, limit: int) -> Path:
    """A copy of the file in `folder`, in DER; it is the caller's to remove.

    Read once, so that what is verified is what is kept, whatever becomes of the file. Raises `FetchFailed`.
    """
    with told_as(_FILE), _opened(path) as source:
        size = os.fstat(source.fileno()).st_size
        if size > limit:
            raise FetchFailed(FailureKind.TOO_LARGE, f"{path} has more than {limit} octets")
        if not size:
            raise FetchFailed(FailureKind.EMPTY, f"{path} is empty")
        with told_as(_STORAGE):
            descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
        made = Path(name)
        try:
            with told_as(_STORAGE), os.fdopen(descriptor, "wb") as target:
                shutil.copyfileobj(source, target)
            with told_as(_NOT_A_CRL):
                into_der(made)
        except BaseException:
            made.unlink(missing_ok=True)
            raise
    return made


def _opened(path: Path) -> BinaryIO:
    # Without O_NONBLOCK opening a named pipe would wait for somebody who writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FetchFailed(FailureKind.FILE, f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb")


_FILE: Final = (((OSError,), FailureKind.FILE),)
_STORAGE: Final = (((OSError,), FailureKind.STORAGE),)
_NOT_A_CRL: Final = (((NotACrl,), FailureKind.NOT_A_CRL),)
