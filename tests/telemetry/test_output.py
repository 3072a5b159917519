"""Lines of the log are written whole and in order, and a reader that does not read them holds nothing up."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from authz.telemetry.output import MAX_WAITING, WRITE_BYTES, DescriptorOutput, LineOutput


class Lost:
    """Counts lines that were lost."""

    def __init__(self) -> None:
        self.lines = 0

    def add(self, lines: int) -> None:
        """Some more."""
        self.lines += lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe, blocking as that of a shell."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def numbered(count: int) -> list[bytes]:
    """Lines of one length, each with its number."""
    return [b"%06d %s\n" % (number, b"x" * 200) for number in range(count)]


def read(descriptor: int) -> bytes:
    """What a pipe or socket holds."""
    os.set_blocking(descriptor, False)
    pieces = []
    try:
        while piece := os.read(descriptor, 1 << 20):
            pieces.append(piece)
    except BlockingIOError:
        pass
    return b"".join(pieces)


class Chunks(BytesIO):
    """Keeps the sizes of what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        """Write, and keep the size."""
        self.sizes.append(len(data))
        return super().write(data)


def test_lines_are_written_whole_in_pieces_that_no_other_process_divides() -> None:
    """A line that is longer than such a piece is written alone."""
    output, lines = Chunks(), [*numbered(200), b"y" * 9_000 + b"\n", *numbered(3)]
    LineOutput(output, Lost().add).write(b"".join(lines))
    assert output.getvalue() == b"".join(lines)
    assert [size for size in output.sizes if size > WRITE_BYTES] == [9_001]
    assert len(output.sizes) < 20


@pytest.mark.parametrize("reopened", [True, False])
def test_pipe_that_is_full_holds_nothing_up(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, *, reopened: bool
) -> None:
    """Lines wait up to a bound, then they are lost and counted; once the pipe is read, those that waited follow.

    The same where this process may not open the pipe once more.
    """
    if not reopened:
        monkeypatch.setattr(os, "open", _refuse)
    lost = Lost()
    output = DescriptorOutput(pipe[1])
    log = LineOutput(output, lost.add)
    lines = numbered(15_000)
    for line in lines:
        log.write(line)
    kept = len(lines) - lost.lines
    assert sum(map(len, lines[:kept])) > MAX_WAITING
    arrived = b""
    while piece := read(pipe[0]):
        arrived += piece
        log.flush()
    assert arrived == b"".join(lines[:kept])
    assert lost.lines > 1_000
    output.close()


def _refuse(*_arguments: object) -> int:
    raise PermissionError


def test_descriptor_keeps_its_flags(pipe: tuple[int, int]) -> None:
    """Other processes write to the same open file description, and expect to wait."""
    output = DescriptorOutput(pipe[1])
    output.write(b"a\n")
    output.close()
    assert not fcntl.fcntl(pipe[1], fcntl.F_GETFL) & os.O_NONBLOCK


def test_socket_that_is_full_holds_nothing_up() -> None:
    """As the one that systemd gives."""
    ours, theirs = socket.socketpair()
    lost = Lost()
    with ours, theirs:
        output = DescriptorOutput(ours.fileno())
        log = LineOutput(output, lost.add)
        lines = numbered(15_000)
        for line in lines:
            log.write(line)
        arrived = b""
        while piece := read(theirs.fileno()):
            arrived += piece
            log.flush()
        assert ours.getblocking()
        output.close()
    assert lost.lines > 0
    assert arrived == b"".join(lines[: len(lines) - lost.lines])


def test_file_is_written_where_others_left_off(tmp_path: Path) -> None:
    """It is not opened once more, for that would begin at its start."""
    with (tmp_path / "log").open("wb", buffering=0) as file:
        first, second = DescriptorOutput(file.fileno()), DescriptorOutput(file.fileno())
        first.write(b"a\n")
        second.write(b"b\n")
        first.write(b"c\n")
    assert (tmp_path / "log").read_bytes() == b"a\nb\nc\n"


def test_lines_that_cannot_be_written_are_counted() -> None:
    """A pipe without a reader; what comes later is tried again."""
    reading, writing = os.pipe()
    lost = Lost()
    output = DescriptorOutput(writing)
    log = LineOutput(output, lost.add)
    os.close(reading)
    log.write(b"a\nb\n")
    log.write(b"c\n")
    output.close()
    os.close(writing)
    assert lost.lines == 3


def test_rest_of_a_line_that_was_cut_follows() -> None:
    """A socket may take a part of what is written."""

    class Sips(BytesIO):
        def write(self, data: bytes, /) -> int:  # type: ignore[override]
            return super().write(data[:7])

    output = Sips()
    LineOutput(output, Lost().add).write(b"".join(numbered(50)))
    assert output.getvalue() == b"".join(numbered(50))
