"""Memory that cannot be changed any more."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from authz.crls.indexing.sealed_memory import SEALS, map_sealed, seal
from authz.errors import IndexingError


@pytest.fixture
def sealed() -> Iterator[int]:
    """A descriptor of sealed memory."""
    descriptor = seal([b"some ", b"", b"content"])
    yield descriptor
    os.close(descriptor)


def test_content_is_what_was_given(sealed: int) -> None:
    """The pieces, one behind the other."""
    assert bytes(map_sealed(sealed)) == b"some content"


def test_content_stays_when_the_descriptor_is_closed() -> None:
    """The mapping holds it."""
    descriptor = seal([b"content"])
    view = map_sealed(descriptor)
    os.close(descriptor)
    assert bytes(view) == b"content"


def test_content_cannot_be_written_through_the_mapping(sealed: int) -> None:
    """Not even by the process itself."""
    with pytest.raises(TypeError):
        map_sealed(sealed)[0] = 0


def reopened(descriptor: int, flags: int = os.O_RDWR) -> int:
    """Another descriptor of the same memory, as a process that may look at ours can make one."""
    return os.open(f"/proc/self/fd/{descriptor}", flags)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda one: os.pwrite(one, b"X", 0), id="write"),
        pytest.param(lambda one: os.pwrite(one, b"X", 12), id="append"),
        pytest.param(lambda one: os.ftruncate(one, 0), id="truncate"),
        pytest.param(lambda one: os.ftruncate(one, 100), id="extend"),
        pytest.param(lambda one: os.pwrite(reopened(one), b"X", 0), id="reopen and write"),
        pytest.param(lambda one: os.ftruncate(reopened(one), 0), id="reopen and truncate"),
        pytest.param(lambda one: reopened(one, os.O_RDWR | os.O_TRUNC), id="reopen truncated"),
        pytest.param(lambda one: mmap.mmap(one, 12, flags=mmap.MAP_SHARED), id="map shared and writable"),
        pytest.param(lambda one: fcntl.fcntl(one, fcntl.F_ADD_SEALS, 0), id="more seals"),
    ],
)
def test_content_cannot_be_changed(sealed: int, change: Callable[[int], object]) -> None:
    """By whatever way."""
    view = map_sealed(sealed)
    with pytest.raises(OSError, match="permitted") as caught:
        change(sealed)
    assert caught.value.errno == errno.EPERM
    assert bytes(view) == b"some content"


def memory(seals: int, content: bytes = b"content") -> int:
    """Memory with only these seals."""
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


ALL = [fcntl.F_SEAL_WRITE, fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SEAL]


@pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(lambda lacking=one: memory(SEALS & ~lacking), id=f"without seal {one}") for one in ALL),
        pytest.param(lambda: memory(SEALS, b""), id="empty"),
        pytest.param(lambda: os.memfd_create("test"), id="memory that cannot be sealed"),
        pytest.param(lambda: os.open(__file__, os.O_RDONLY), id="file"),
        pytest.param(lambda: os.open(tempfile.gettempdir(), os.O_RDONLY), id="folder"),
        pytest.param(lambda: os.open("/dev/zero", os.O_RDONLY), id="device"),
        pytest.param(lambda: os.pipe()[0], id="pipe"),
        pytest.param(lambda: 1_000_000, id="nothing"),
    ],
)
def test_descriptor_of_anything_else_is_an_error(make: Callable[[], int]) -> None:
    """What can change, or was not made by `seal`, is not looked at."""
    with pytest.raises(IndexingError):
        map_sealed(make())


def test_failure_leaves_no_descriptor_behind() -> None:
    """What was begun is closed."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ZeroDivisionError):
        seal(b"x" * (1 // (number - number)) for number in (1,))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
