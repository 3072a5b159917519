"""How tests talk to a stage."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from authz.demo import Stage
from authz.demo.client import Connection

Dial = Callable[..., Connection]
"""`dial(stage, "alice", context=…)`: a connection as the holder of a certificate."""


def bearer(stage: Stage, user: str) -> list[tuple[str, str]]:
    """The header with a token for `user`."""
    return [("authorization", f"Bearer {stage.token(user)}")]


def family(process: int) -> list[int]:
    """A process and all below it, by their ids."""
    children = " ".join(one.read_text() for one in Path(f"/proc/{process}/task").glob("*/children")).split()
    return [process, *(one for child in children for one in family(int(child)))]


@contextlib.contextmanager
def paused(stage: Stage) -> Iterator[None]:
    """The stage's service hangs: its supervisor, its keeper and its workers."""
    process = stage.service.process
    if process is None:
        raise RuntimeError("the service does not run")
    stopped = family(process.pid)
    for one in stopped:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in stopped:
            os.kill(one, signal.SIGCONT)
