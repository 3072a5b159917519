"""Starts processes that install copies in a loop, to be killed: one for each line `FOLDER NUMBER` on standard input.

The process tells its id, then each number once its copy is installed; when it has died, `dead` follows.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from authz.crl_source.keep import Keep, Origin

NAME = "a" * 64
SIZE = 200_000


def body(number: int) -> bytes:
    """What the copy of this number holds."""
    return b"%d\n" % number + hashlib.shake_128(b"%d" % number).digest(SIZE)


def tell(text: str) -> None:
    """One line, at once and whole."""
    os.write(1, f"{text}\n".encode())


def write(folder: Path, first: int) -> None:
    """Install copy after copy, for ever."""
    with Keep(folder) as keep:
        tell(str(os.getpid()))
        for number in itertools.count(first):
            keep.put(NAME, io.BytesIO(body(number)), Origin(str(number), None, None, datetime.now(UTC)))
            tell(str(number))


def main() -> None:
    """One process a line; this one has a single thread, so that it may fork."""
    while line := sys.stdin.readline():
        folder, first = line.split()
        child = os.fork()
        if not child:
            try:
                write(Path(folder), int(first))
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        tell("dead")


if __name__ == "__main__":
    main()
