"""Whether a flood of paths silences the keeper of the CRLs: its word that nothing is missing must come within 2 s.

Workers are processes of their own that send paths, slow to read, as fast as their sockets take them; another listens,
and asks about an ordinary path of another organization twice a second. The longest silence and the slowest answer are
compared with the time that one of the slow paths takes to read. Fails where the word is late.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cryptography import x509
from cryptography.x509.oid import NameOID
from support.crl_world import CA, ROOT, leaf, points

from authz.crls.indexing.sealed_memory import seal
from authz.crls.share.protocol import ORGANIZATION, Channel, MessageKind, packed
from authz.crls.share.publisher import HEARTBEAT_SECONDS, Publisher
from authz.crls.share.subscriber import CURRENT_SECONDS
from authz.crls.sources import CrlSources
from authz.pki import Certificate

SECONDS, WORKERS, PATHS = 6.0, 4, 100
EVIL, ACME = 1, 2


class Keeper:
    """Learns of paths as `Refresher` does, and never has a CRL."""

    held = refused = ()

    def __init__(self) -> None:
        self.sources = CrlSources((), 64, lambda _: None)

    def set_on_change(self, on_change: Callable[[], None]) -> None:
        """Nothing ever changes."""

    def path_seen(self, organization: int, path: Sequence[bytes]) -> None:
        """A path is read, and what it names noted."""
        self.sources.meet(organization, [Certificate.parse(one) for one in path])

    async def fetch_first(self, organization: int, path: Sequence[bytes]) -> None:
        """The same; nothing is waited for."""
        self.path_seen(organization, path)


def slow(number: int) -> list[bytes]:
    """A path whose leaf has nearly as many directory names as are read (`authz.pki.x509.extensions`)."""
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(one))]) for one in range(60)]
    san = x509.SubjectAlternativeName([x509.DirectoryName(one) for one in names]), False
    made = CA.leaf("m", extensions=[*points(f"http://127.0.0.1:9/{number}"), san])
    return [one.der for one in (made, CA, ROOT)]


async def flood(link: Channel, paths: list[list[bytes]]) -> None:
    """Tell and ask, as fast as it goes."""
    descriptors = [seal(packed(one)) for one in paths]
    while True:
        for number, one in enumerate(descriptors):
            await link.send(MessageKind.PATH_SEEN, EVIL, descriptor=one)
            await link.send(MessageKind.FETCH_REQUEST, number, ORGANIZATION.pack(EVIL), one)
            await asyncio.sleep(0)


async def listen(link: Channel, silence: list[float], answers: list[float]) -> None:
    """How long it is from one word to the next, and from each question to its answer."""
    path = seal(packed([one.der for one in (leaf("alice", "http://127.0.0.1:9/"), CA, ROOT)]))
    last = asked = time.monotonic()
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                message = await link.receive()
                now = time.monotonic()
                if message.kind == MessageKind.HEARTBEAT:
                    silence.append(now - last)
                    last = now
                elif message.kind == MessageKind.ANSWER:
                    answers.append(now - asked)
        if time.monotonic() - asked > 0.5:
            asked = time.monotonic()
            await link.send(MessageKind.FETCH_REQUEST, 1, ORGANIZATION.pack(ACME), path)


async def worker(link: Channel, paths: list[list[bytes]]) -> None:
    """One that floods; what it is told it passes over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(flood(link, paths), _passed_over(link))


async def _passed_over(link: Channel) -> NoReturn:
    while True:
        await link.receive()


async def observer(link: Channel) -> None:
    """One that listens; says what it heard."""
    silence, answers = [0.0], [0.0]
    began = time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SECONDS):
            await listen(link, silence, answers)
    silence.append(time.monotonic() - began - sum(silence))
    path = slow(0)
    spent = min(_timed(lambda: Keeper().path_seen(EVIL, path)) for _ in range(5))
    print(f"one slow path: {spent * 1e3:.1f} ms to read; {WORKERS} workers send as many as they can")
    print(f"longest silence: {max(silence):.2f} s ({HEARTBEAT_SECONDS} s alone), {max(silence) / spent:.0f} paths")
    print(f"slowest answer to another organization: {max(answers):.2f} s, {max(answers) / spent:.0f} paths")
    sys.stdout.flush()
    os._exit(max(silence) >= CURRENT_SECONDS or len(answers) < 3)


def _timed(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


async def serve(ends: list[socket.socket]) -> None:
    """The keeper, longer than all the others."""
    keeper: Any = Keeper()
    feed = Publisher(keeper, descriptor_of=lambda _: -1, current=time.monotonic_ns, warn=lambda _: None)
    for one in ends:
        feed.attach(one)
    await asyncio.sleep(SECONDS + 1)


def main() -> None:
    """Fork, flood, compare."""
    paths = [slow(number) for number in range(PATHS)]
    ends, children = [], []
    for each in (*[lambda link: worker(link, paths)] * WORKERS, observer):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = os.fork()
        if not child:
            asyncio.run(_with_link(theirs, each))
            os._exit(0)
        theirs.close()
        ends.append(ours)
        children.append(child)
    asyncio.run(serve(ends))
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in children))


async def _with_link(end: socket.socket, each: Callable[[Channel], object]) -> None:
    await each(Channel(end))  # type: ignore[misc]


if __name__ == "__main__":
    main()
