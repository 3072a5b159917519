"""How the demonstration ends: in order, whatever ends it, leaving none of its keys and processes."""

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
"""A folder is left alone for so long after it was made: its maker locks it within milliseconds."""

_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def ended_once() -> Iterator[Callable[[], None]]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, by an exception; later signals do not disturb the clean-up.

    Yields a function with the same effect, for a block that ends by itself: to be called before its clean-up.
    """
    before = {number: signal.getsignal(number) for number in _ENDS}
    handled = [number for number in _ENDS if before[number] is not signal.SIG_IGN]  # nohup has SIGHUP ignored

    def deafen() -> None:
        for number in handled:
            signal.signal(number, signal.SIG_IGN)

    def end(number: int, _frame: FrameType | None) -> None:
        deafen()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    for number in handled:
        signal.signal(number, end)
    try:
        yield deafen
    finally:
        for number in handled:
            signal.signal(number, before[number])


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for its owner alone, removed in the end; folders of killed processes are removed, too."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_left(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, _locked(name):
        yield Path(name)


@contextlib.contextmanager
def _locked(folder: Path | str) -> Iterator[None]:
    """Hold the lock of a folder, which the kernel releases with its process. Raises `OSError` where it is locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_left(folder: Path) -> None:
    """Remove a folder of keys whose process has ended, if it is this account's."""
    with contextlib.suppress(OSError):
        state = folder.lstat()
        ours = stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()
        if ours and time.time() - state.st_mtime > YOUNG_SECONDS:
            with _locked(folder):
                shutil.rmtree(folder)
            sys.stderr.write(f"removed {folder}, left by a demonstration that was killed\n")
