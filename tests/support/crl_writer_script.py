"""Installs copies in a loop, to be killed by `support.process_kill`; its argument is the first number."""

from __future__ import annotations

import hashlib
import io
import itertools
from datetime import UTC, datetime
from pathlib import Path

from authz.crls.disk_store import Keep, Origin
from support.process_kill import serve, tell

NAME = "a" * 64
SIZE = 200_000


def body(number: int) -> bytes:
    """What the copy of this number holds."""
    return b"%d\n" % number + hashlib.shake_128(b"%d" % number).digest(SIZE)


def write(folder: Path, first: str) -> None:
    """Install copy after copy, for ever."""
    with Keep(folder) as keep:
        for number in itertools.count(int(first)):
            keep.put(NAME, io.BytesIO(body(number)), Origin(str(number), None, None, datetime.now(UTC)))
            tell(str(number))


if __name__ == "__main__":
    serve(write)
