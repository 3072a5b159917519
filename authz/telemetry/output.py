"""Where log lines are written to, whole and in order; a reader that does not read them holds nothing up."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import Final, Protocol

MAX_WAITING: Final = 1024 * 1024
"""Bytes of lines that wait until a pipe is read; lines above it are lost."""

WRITE_BYTES: Final = select.PIPE_BUF
"""Bytes written at once: so many are not mixed with what other processes write to the same pipe (POSIX, write)."""


class Output(Protocol):
    """Takes the bytes of a log."""

    def write(self, data: bytes, /) -> int:
        """Write `data`; return the bytes written. Raises `BlockingIOError` rather than wait, or another `OSError`."""
        ...

    def flush(self) -> None:
        """Pass on what was written."""
        ...


class LineOutput:
    """Writes lines to `output`; `lost` is called with the number of those that cannot be written."""

    def __init__(self, output: Output, lost: Callable[[int], None]) -> None:
        self._output = output
        self._lost = lost
        self._waiting = bytearray()

    def write(self, lines: bytes) -> None:
        """Write lines, each with its line end, behind those that wait."""
        if len(self._waiting) + len(lines) > MAX_WAITING:
            self._lost(lines.count(b"\n"))
        else:
            self._waiting += lines
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the output takes it; the rest waits for the next call."""
        done = 0
        while done < len(self._waiting):
            end = self._end_of_write(done)
            try:
                done += self._output.write(bytes(self._waiting[done:end]))
                self._output.flush()
            except BlockingIOError:
                break
            except (OSError, ValueError):
                self._lost(self._waiting.count(b"\n", done, end))
                done = end
        del self._waiting[:done]

    def _end_of_write(self, start: int) -> int:
        """The end of the lines from `start` that are written at once: of one, however long, at least."""
        end = self._waiting.rfind(b"\n", start, start + WRITE_BYTES) + 1
        return end or self._waiting.index(b"\n", start) + 1


class DescriptorOutput:
    """A descriptor, to which nothing is written that would have to wait.

    Other processes share its open file description: its flags stay. A pipe is opened once more instead, where this
    process may. Where it may not, two processes that write at the same moment may fill it, and one waits.
    """

    def __init__(self, descriptor: int) -> None:
        mode = os.fstat(descriptor).st_mode
        self._socket = socket.socket(fileno=os.dup(descriptor)) if stat.S_ISSOCK(mode) else None
        self._opened: int | None = None
        if stat.S_ISFIFO(mode):
            with contextlib.suppress(OSError):
                self._opened = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
        self._descriptor = descriptor if self._opened is None else self._opened
        self._ready = select.poll()
        self._ready.register(self._descriptor, select.POLLOUT)

    def write(self, data: bytes) -> int:
        """See `Output`."""
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        if not self._ready.poll(0):
            raise BlockingIOError
        return os.write(self._descriptor, data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Give back what was opened here; the descriptor itself is its owner's to close."""
        if self._socket is not None:
            self._socket.close()
        if self._opened is not None:
            os.close(self._opened)
