"""How the demonstration ends: in order, whatever ends it, with nothing of its keys and processes left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

PREFIX: Final = "authz-demo-"

YOUNG_SECONDS: Final = 60.0
"""A folder is left alone for so long after it was made: whoever makes it locks it within milliseconds."""

_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def ended_once() -> Iterator[Callable[[], None]]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, by an exception; what follows disturbs the tidying up no more.

    To be called where a block that came to its end by itself begins to tidy up: what it gives has the same effect.
    """
    before = {one: signal.getsignal(one) for one in _ENDS}
    heeded = [one for one in _ENDS if before[one] is not signal.SIG_IGN]  # nohup has SIGHUP ignored

    def deafen() -> None:
        for one in heeded:
            signal.signal(one, signal.SIG_IGN)

    def end(number: int, _frame: FrameType | None) -> None:
        deafen()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    for one in heeded:
        signal.signal(one, end)
    try:
        yield deafen
    finally:
        for one in heeded:
            signal.signal(one, before[one])


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for its owner alone, removed in the end; also one that was left by a process that was killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_left(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, _locked(name):
        yield Path(name)


@contextlib.contextmanager
def _locked(folder: Path | str) -> Iterator[None]:
    """Hold the lock of a folder, which the kernel lets go of with its process. Raises `OSError` where it is held."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)


def _remove_left(folder: Path) -> None:
    """Remove a folder of keys that nobody holds any more, if it is ours."""
    with contextlib.suppress(OSError):
        found = folder.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if ours and time.time() - found.st_mtime > YOUNG_SECONDS:
            with _locked(folder):
                shutil.rmtree(folder)
            sys.stderr.write(f"removed {folder}, which a demonstration that was killed had left\n")
