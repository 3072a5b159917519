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
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from authz.crls.indexing.process import IMAGE, MAX_ANSWER, read_all
from authz.crls.indexing.sealed_memory import map_sealed, seal
from authz.errors import IndexingError, Refused
from authz.pki.crl.crl import Crl
from authz.pki.crl.image import HashedCrl, open_image, verified_under
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
COMMAND: Final = (sys.executable, "-P", "-m", "authz.crls.indexing.process")

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
    with opened(source) as (descriptor, octets):
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
    received: list[int] = []
    with opened(source) as (descriptor, octets):
        if octets > MAX_OCTETS:
            raise Refused(Reason.CRL_MALFORMED, f"a CRL of {octets} octets")
        try:
            async with asyncio.timeout(seconds):
                message, last_words = await _run(descriptor, keys, received)
            return _image(message, received, last_words)
        except TimeoutError as error:
            raise IndexingError(f"indexing a CRL took more than {seconds:g} s") from error
        finally:
            for one in received:
                os.close(one)


@contextlib.contextmanager
def opened(source: Path | int) -> Iterator[tuple[int, int]]:
    """A descriptor of the file, and its length in octets."""
    given = isinstance(source, int)
    # Without O_NONBLOCK opening a named pipe would wait for somebody who writes.
    descriptor = source if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(Reason.CRL_MALFORMED, "not a regular file")
        yield descriptor, status.st_size
    finally:
        if not given:
            os.close(descriptor)


async def _run(source: int, keys: Iterable[bytes], received: list[int]) -> tuple[bytes, str]:
    """Run the process until it answers or ends: its answer, or how it ended; what it handed over is `received`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = _start(source, keys, theirs)
        ending = None
        try:
            message, descriptors = await _answer(ours)
            received += descriptors
            if not message and not descriptors:
                ending = asyncio.ensure_future(asyncio.to_thread(process.communicate))
                await asyncio.shield(ending)
        finally:
            process.kill()
            _, told = await (ending or asyncio.to_thread(process.communicate))
    return message, f"ended with {process.returncode}: {_last_line(told)}".rstrip(": ")


def _start(source: int, keys: Iterable[bytes], theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Start the process; its standard input is a pipe into which nothing is written, and which ends with us.

    By `subprocess` and not by the event loop: uvloop forks, which takes the longer the more memory there is
    (8 ms at 250 MB); this is a vfork of 1 ms. Raises `IndexingError`.
    """
    with contextlib.ExitStack() as opened:
        try:
            known = seal(keys)
            opened.callback(os.close, known)
            return _popen(source, known, theirs.fileno())
        except OSError as error:
            raise IndexingError(f"the process that indexes CRLs cannot be started: {error.strerror}") from error


def _popen(*descriptors: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own program
        [*COMMAND, *map(str, descriptors)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
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
    message, descriptors, _, _ = socket.recv_fds(ours, MAX_ANSWER, 1)
    for one in descriptors:
        # `recv_fds` heeds no flags (Python 3.11), so that MSG_CMSG_CLOEXEC would be lost.
        os.set_inheritable(one, False)
    return message, descriptors


def _image(message: bytes, received: list[int], last_words: str) -> int:
    """The descriptor of an image, taken from what was received. Raises `Refused` or `IndexingError` without one."""
    if message == IMAGE and received:
        return received.pop()
    reason, nul, detail = message.decode("utf-8", "replace").partition("\0")
    if nul and reason in _REFUSALS and not received:
        raise Refused(_REFUSALS[reason], detail)
    raise IndexingError(f"the process that indexes CRLs {'gave no answer' if message or received else last_words}")


def _last_line(told: bytes) -> str:
    lines = told.decode("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")[:200]
