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

from authz.crl_source.body import NotACrl, into_der
from authz.crl_source.failures import FailureKind, FetchFailed, told_as
from authz.crl_source.keep import TEMPORARY

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
        stamp = _stamp(path)
        if stamp is not None and path.is_dir():
            found.update(_in_folder(path))
        else:
            found[path] = stamp
    return found


def _in_folder(folder: Path) -> dict[Path, Stamp | None]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(one.name for one in entries if not one.name.startswith("."))
    except OSError:
        return {folder: None}
    stamps = {folder / name: _stamp(folder / name) for name in names[:MAX_FILES]}
    return {path: stamp for path, stamp in stamps.items() if stamp is not None and not path.is_dir()}


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


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
