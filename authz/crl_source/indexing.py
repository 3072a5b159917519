"""Reads CRLs while the event loop goes on: a small one at once, a large one in a process of its own.

In a thread a large CRL would stop the loop for hundreds of milliseconds, because of the interpreter's lock.
A process gets no more from the CRL's file than the file's descriptor, has bounded memory and time, and is
killed with its parent; whatever becomes of it, the outcome here is a CRL or an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Final

from authz.crl_source.indexer import IMAGE, MAX_ANSWER, read_all
from authz.crl_source.sealed import map_sealed
from authz.errors import IndexingError, Refused
from authz.pki.crl import Crl
from authz.pki.crl_image import HashedCrl, open_image, verified_under
from authz.reasons import Reason

SMALL_OCTETS: Final = 32 * 1024
"""A CRL up to this length is read at once: 2 ms, and 9 ms for the worst that can be made; the bound is 20 ms."""

SMALL_KEYS: Final = 8
"""With more keys to try, a small CRL goes to a process too: one verification takes up to 0.4 ms."""

MAX_OCTETS: Final = 256 * 1024 * 1024
"""Octets of a CRL: six times those of one with a million entries."""

TIMEOUT: Final = 300.0
"""Seconds until the process is given up: for the largest CRL, 20 times what it takes on an idle machine."""

# -P: what lies in the working directory is not ours to run.
COMMAND: Final = (sys.executable, "-P", "-m", "authz.crl_source.indexer")

_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""What the process gets of the environment: it reads what strangers wrote, and needs none of our secrets."""


_REFUSALS: Final = {
    one.value: one for one in (Reason.CRL_MALFORMED, Reason.SIGNATURE_INVALID, Reason.ALGORITHM_NOT_ALLOWED)
}


async def index_crl(source: Path | int, keys: Collection[bytes], *, seconds: float = TIMEOUT) -> Crl:
    """The CRL in a DER file, given by its path or an open descriptor (which stays open), verified and indexed.

    `keys` are SubjectPublicKeyInfos in DER, one of which must have signed it; `seconds` bound the process.
    Raises `Refused` (crl_malformed, signature_invalid, algorithm_not_allowed) about the CRL, `IndexingError`
    when its index could not be made, `OSError` for a file that cannot be read.
    """
    with _opened(source) as (descriptor, octets):
        if octets <= SMALL_OCTETS and len(keys) <= SMALL_KEYS:
            crl = Crl(read_all(descriptor, octets))
            verified_under(crl.signed, keys)
            return crl
        image = await make_sealed_image(descriptor, keys, seconds=seconds)
    try:
        view = map_sealed(image)
    finally:
        os.close(image)
    # Off the loop: the image is read once, at 2 GB/s, to compare its digest, and the interpreter's lock is free.
    return await asyncio.to_thread(_crl_of, view)


def crl_of(image: int) -> HashedCrl:
    """The CRL of an image in sealed memory; the descriptor is not needed any more. Raises `IndexingError`.

    Any number of processes may use the same image: it takes its memory once.
    """
    return _crl_of(map_sealed(image))


def _crl_of(view: memoryview) -> HashedCrl:
    try:
        return open_image(view)
    except ValueError as error:
        raise IndexingError(f"the index of a CRL is none: {error}") from error


async def make_sealed_image(source: Path | int, keys: Collection[bytes], *, seconds: float = TIMEOUT) -> int:
    """A descriptor of sealed memory with the image of the CRL, whatever its size; the caller closes it.

    For `crl_of`, here and in every process that it is handed to. Raises what `index_crl` raises.
    """
    with _opened(source) as (descriptor, octets):
        if octets > MAX_OCTETS:
            raise Refused(Reason.CRL_MALFORMED, f"a CRL of {octets} octets")
        try:
            async with asyncio.timeout(seconds), _process(descriptor, keys) as (process, ours):
                return await _image(process, *await _answer(ours))
        except TimeoutError as error:
            raise IndexingError(f"indexing a CRL took more than {seconds:g} s") from error


@contextlib.contextmanager
def _opened(source: Path | int) -> Iterator[tuple[int, int]]:
    """A descriptor of the file, and its length in octets."""
    # Opening a named pipe would wait for somebody who writes.
    given = isinstance(source, int)
    descriptor = source if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(Reason.CRL_MALFORMED, "not a regular file")
        yield descriptor, status.st_size
    finally:
        if not given:
            os.close(descriptor)


@contextlib.asynccontextmanager
async def _process(source: int, keys: Collection[bytes]) -> AsyncIterator[tuple[Process, socket.socket]]:
    """The process, at work, and our end of what it answers on; it is gone at the end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = await _start(source, theirs.fileno())
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            joined = b"".join(keys)
            # It may have died already; then there is no answer. The pipe stays open: it ends when we do.
            with contextlib.suppress(ConnectionError):
                process.stdin.write(len(joined).to_bytes(4, "big") + joined)
                await process.stdin.drain()
            yield process, ours
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.stdin.close()
            await process.wait()


async def _start(source: int, theirs: int) -> Process:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        str(source),
        str(theirs),
        stdin=PIPE,
        stdout=DEVNULL,
        stderr=PIPE,
        pass_fds=(source, theirs),
        env=environment,
        start_new_session=True,
    )


async def _answer(ours: socket.socket) -> tuple[bytes, list[int]]:
    """One message with the descriptors that came along; empty when the process ended without one."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    ours.setblocking(False)
    loop.add_reader(ours, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(ours)
    message, descriptors, _, _ = socket.recv_fds(ours, MAX_ANSWER, 1, socket.MSG_CMSG_CLOEXEC)
    return message, descriptors


async def _image(process: Process, message: bytes, descriptors: list[int]) -> int:
    """The descriptor of an image. Raises `Refused` or `IndexingError` for any other answer."""
    if message == IMAGE and len(descriptors) == 1:
        return descriptors[0]
    for one in descriptors:
        os.close(one)
    reason, nul, detail = message.decode("utf-8", "replace").partition("\0")
    if nul and reason in _REFUSALS:
        raise Refused(_REFUSALS[reason], detail)
    if message or descriptors:
        raise IndexingError("the process that indexes CRLs gave an answer that is none")
    raise IndexingError(await _last_words(process))


async def _last_words(process: Process) -> str:
    """What became of a process that ended without an answer."""
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    lines = (await process.stderr.read()).decode("utf-8", "replace").split("\n")
    why = next((line for line in reversed(lines) if line.strip()), "")
    return f"the process that indexes CRLs ended with {await process.wait()}: {why[:200]}".rstrip(": ")
