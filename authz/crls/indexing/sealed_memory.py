"""Memory that no process can change any more: made by one, used by all, gone with the last.

A memfd with every seal set can be neither written, truncated nor extended, by whoever holds it and however
it is opened again (memfd_create(2), F_ADD_SEALS in fcntl(2)). It has no name and lies on no disk, so that
its content is only ever what a process of ours made.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Final

from authz.errors import IndexingError

if TYPE_CHECKING:
    from collections.abc import Iterable

SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def seal(pieces: Iterable[bytes]) -> int:
    """A descriptor of sealed memory that holds the pieces, one behind the other; the caller closes it.

    Raises `OSError` where memory is lacking.
    """
    descriptor = os.memfd_create("authz-crl", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.writelines(pieces)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def map_sealed(descriptor: int) -> memoryview:
    """The content of sealed memory, mapped; it stays when the descriptor is closed, and takes no memory again.

    Raises `IndexingError` for a descriptor of anything else, also for memory that lacks one of the seals.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        size = os.fstat(descriptor).st_size
        if seals & SEALS != SEALS or size == 0:
            raise IndexingError("what was handed over is not sealed memory")
        # Private: before Linux 6.7 a write-sealed memfd cannot be mapped shared, not even to be read.
        return memoryview(mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
    except OSError as error:
        raise IndexingError(f"what was handed over is not sealed memory: {error.strerror}") from error


class Memory:
    """Sealed memory as `authz.crls.share.publisher.SealedMemory` has it."""

    seal = staticmethod(seal)
    map = staticmethod(map_sealed)
