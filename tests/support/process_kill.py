"""Processes that are killed while they write: `kill -9` at a moment that chance chooses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TESTS = Path(__file__).parents[1]


def tell(text: str) -> None:
    """Write one line to the parent process, at once and whole."""
    os.write(1, f"{text}\n".encode())


def serve(write: Callable[[Path, str], None]) -> None:
    """The main of a script for `Writers`: a process that writes for each line `FOLDER WORD` on standard input.

    It prints its id, then each number that is on disk; when it has died, `dead` follows. This process has a single
    thread, so that it may fork, which is faster than to start anew.
    """
    while line := sys.stdin.readline():
        folder, word = line.split()
        child = os.fork()
        if not child:
            try:
                tell(str(os.getpid()))
                write(Path(folder), word)
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        tell("dead")


class Writers:
    """Processes that write until they are killed; `script` ends in `serve`."""

    def __init__(self, script: Path) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
        )

    def _line(self) -> str:
        assert self._parent.stdout is not None
        return self._parent.stdout.readline().strip()

    def killed(self, folder: Path, word: str, last: int, *, after: int, pause: float) -> int:
        """Start one, and kill it a moment after it printed so many numbers; the last number printed, or `last`."""
        assert self._parent.stdin is not None
        self._parent.stdin.write(f"{folder} {word}\n")
        self._parent.stdin.flush()
        writer = int(self._line())
        for _ in range(after):
            last = int(self._line())
        time.sleep(pause)
        os.kill(writer, signal.SIGKILL)
        while (line := self._line()) != "dead":
            last = int(line)
        return last

    def close(self) -> None:
        """No more."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()
