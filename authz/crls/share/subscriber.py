"""The CRLs in a worker, as another process keeps them fresh and sends them.

Looks the same to checks as `authz.crls.refresher.Refresher` does: `authz.ports.CrlView`, `Source` and
`Observer`. A worker that received no heartbeat for 2 seconds uses no CRL.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Final

from authz.crls.indexing.sealed_memory import map_sealed, seal
from authz.crls.indexing.shared_images import open_sealed
from authz.crls.load_keys import PathKey, ReportedPaths
from authz.crls.rules import CrlRules, modes_of
from authz.crls.share.protocol import ORGANIZATION, Channel, CrlManifest, Message, MessageKind, packed
from authz.crls.sources import urls_of
from authz.errors import IndexingError, NotLoaded, Refused
from authz.ipc import PeerClosed
from authz.model import CheckRequest, Organization
from authz.pki import Certificate, Crl, CrlStore, ModeOf
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.decision import Decision
    from authz.view import Listener

CURRENT_SECONDS: Final = 2.0
"""How old the last heartbeat may be before checks that need CRLs are answered 503."""

ASK_AGAIN_SECONDS: Final = 1.0
"""How long after an answer about a path no other fetch request is sent about it."""

MAX_ASKED: Final = 10_000
"""Paths whose fetch request was answered within the last second."""


class FetchRequests:
    """The fetch requests that wait for their answer, one for each path; checks of one path share it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._numbers = itertools.count()
        self._pending: dict[int, tuple[Channel, asyncio.Future[None]]] = {}
        self._by_path: dict[PathKey, asyncio.Future[None]] = {}
        self._answered_at: dict[bytes, float] = {}

    def may_ask(self, key: PathKey) -> bool:
        """Whether no request about the path was answered within the last second."""
        answered_at = self._answered_at.get(key.digest)
        return answered_at is None or self._monotonic() - answered_at > ASK_AGAIN_SECONDS

    async def answer_to(self, key: PathKey, send: Callable[[int], Channel | None]) -> None:
        """Wait for the answer about a path; `send` sends a request of that number, and says over which channel.

        Raises `Refused` (crls_unavailable).
        """
        answer = self._by_path.get(key)
        if answer is None:
            answer = self._by_path[key] = self._ask(send)
            answer.add_done_callback(lambda _: self._settle(key))
        # A check that gives up must not take the others' answer with it.
        await asyncio.shield(answer)

    def _ask(self, send: Callable[[int], Channel | None]) -> asyncio.Future[None]:
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        channel = send(number)
        if channel is None:
            answer.set_exception(Refused(Reason.CRLS_UNAVAILABLE, "the process that keeps the CRLs cannot be asked"))
        else:
            self._pending[number] = channel, answer
        return answer

    def _settle(self, key: PathKey) -> None:
        answer = self._by_path.pop(key)
        if answer.cancelled() or answer.exception() is not None:
            return
        if len(self._answered_at) >= MAX_ASKED:
            self._answered_at.clear()
        self._answered_at[key.digest] = self._monotonic()

    def answered(self, number: int) -> None:
        """The answer to the request of that number came."""
        _, answer = self._pending.pop(number, (None, None))
        if answer is not None and not answer.done():
            answer.set_result(None)

    def fail(self, channel: Channel) -> None:
        """No answer will come over that channel any more."""
        for number, (used, answer) in list(self._pending.items()):
            if used is channel:
                del self._pending[number]
                if not answer.done():
                    gone = "the process that keeps the CRLs is out of reach"
                    answer.set_exception(Refused(Reason.CRLS_UNAVAILABLE, gone))


class Subscriber:
    """Made inside the event loop; `follow` begins once there is a process that keeps the CRLs.

    `lost` is called when its channel closes, `failed_by` when this worker cannot know any more which CRLs count.
    `monotonic` gives seconds, and is the clock of the process that keeps the CRLs, too. `warn` reports what the
    operator should mend.
    """

    def __init__(self, rules: CrlRules, *, monotonic: Callable[[], float], warn: Callable[[str], None]) -> None:
        self._rules = rules
        self._monotonic = monotonic
        self._warn = warn
        self._channel: Channel | None = None
        self._following: asyncio.Task[None] | None = None
        self._crls: dict[bytes, Crl] = {}
        self._manifest = CrlManifest({}, ())
        self._store: CrlStore | None = None
        self._current_at: float | None = None
        self._started = asyncio.Event()
        self._requests = FetchRequests(monotonic)
        self._reported = ReportedPaths(monotonic)
        self.failed_by: Callable[[BaseException], None] = lambda _: None
        self.lost: Callable[[], None] = lambda: None

    # -- life ----------------------------------------------------------------------------------------------

    def follow(self, connection: socket.socket) -> None:
        """Receive from the process that keeps the CRLs now; what is held stays until its manifest comes."""
        if self._following is not None:
            self._following.cancel()
        # No path was reported to this process yet.
        self._reported.clear()
        self._channel = Channel(connection)
        self._following = asyncio.create_task(self._follow(self._channel), name="following the CRLs")
        self._following.add_done_callback(self._ended)

    async def started(self) -> None:
        """Wait for the first manifest."""
        await self._started.wait()

    async def close(self) -> None:
        """Receive no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    @property
    def current(self) -> bool:
        """Whether everything up to a moment within the last 2 seconds was received."""
        return self._current_at is not None and self._monotonic() - self._current_at <= CURRENT_SECONDS

    async def _follow(self, channel: Channel) -> None:
        try:
            while True:
                await self._take(await channel.receive())
        except PeerClosed as closed:
            # One that is replaced closes its end, too: within this time the next one's comes, and no check notices.
            asyncio.get_running_loop().call_later(CURRENT_SECONDS, self._warn_if_alone, str(closed))
            if self._channel is channel:
                self.lost()
        finally:
            if self._channel is channel:
                self._channel = None
            channel.close()
            self._requests.fail(channel)

    def _warn_if_alone(self, why: str) -> None:
        if self._channel is None:
            self._warn(f"the process that keeps the CRLs is out of reach: {why}")

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # What is missing here is written down nowhere: a worker starts anew rather than know less.
            self.failed_by(error)

    async def _take(self, message: Message) -> None:
        try:
            if message.kind in {MessageKind.CRL, MessageKind.MANIFEST}:
                if message.descriptor is None:
                    raise IndexingError("a CRL, or a manifest, without its content")
                if message.kind == MessageKind.CRL:
                    await self._hold(message.body, message.descriptor)
                else:
                    self._apply(CrlManifest.from_bytes(map_sealed(message.descriptor)))
            elif message.kind == MessageKind.HEARTBEAT:
                self._current_at = message.number / 1e9
            elif message.kind == MessageKind.ANSWER:
                self._requests.answered(message.number)
        finally:
            if message.descriptor is not None:
                os.close(message.descriptor)

    async def _hold(self, sha256: bytes, descriptor: int) -> None:
        """One more CRL, which does not count before a manifest lists it. Raises `IndexingError`."""
        if sha256 in self._crls:
            return
        crl = await asyncio.to_thread(open_sealed, descriptor)
        if crl.sha256 != sha256:
            raise IndexingError("another CRL than was announced")
        self._crls[sha256] = crl

    def _apply(self, manifest: CrlManifest) -> None:
        """What counts from now on. Raises `IndexingError`."""
        if not manifest.signers.keys() <= self._crls.keys():
            raise IndexingError("a CRL is listed that did not come")
        before = self._manifest.signers, self._manifest.expired
        if self._store is None or (manifest.signers, manifest.expired) != before:
            self._crls = {sha256: self._crls[sha256] for sha256 in manifest.signers}
            for sha256, crl in self._crls.items():
                crl.mark_expired(when_it_came=sha256 in manifest.expired)
            if self._store is not None:
                # It holds CRLs that do not count any more, the memory of which other processes share.
                self._store.memory.clear()
            self._store = CrlStore(self._crls.values(), manifest.signers)
        self._manifest = manifest
        self._started.set()

    # -- what checks look at -------------------------------------------------------------------------------

    def crls(self) -> CrlStore:
        """See `authz.ports.CrlView`. Raises `Refused` (crls_unavailable)."""
        if self._store is None or not self.current:
            raise Refused(Reason.CRLS_UNAVAILABLE, "no heartbeat confirmed the CRLs for 2 s")
        return self._store

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See `authz.view.View`."""
        return modes_of(self._rules, self._manifest.refused, organization)

    def directory_read(self, revision: Hashable) -> None:
        """See `authz.ports.CrlView`: the process that keeps the CRLs reads those of the directory."""

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.view.View.request_crls`."""
        if not self._rules.points or not urls_of([Certificate.parse(der) for der in path]):
            return
        key = PathKey(organization.id, path)
        if self._requests.may_ask(key):
            raise NotLoaded(key)

    # -- what checks wait for, and what they report ----------------------------------------------------------

    async def load(self, key: Hashable) -> bool:
        """See `authz.ports.Source`: waits for the first try of distribution points; checks of one path share it."""
        if not isinstance(key, PathKey):
            return False
        organization = ORGANIZATION.pack(key.organization)
        await self._requests.answer_to(
            key, lambda number: self._send(MessageKind.FETCH_REQUEST, number, key.path, organization)
        )
        return True

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:  # noqa: ARG002
        """See `authz.ports.Observer`: the distribution points of a path that verified will be asked in time."""
        unknown = self._reported.unknown_in(decision) if self._rules.points else None
        if unknown is None:
            return
        organization, path = unknown
        if self._send(MessageKind.PATH_SEEN, organization.id, [certificate.der for certificate in path.certificates]):
            self._reported.add(organization, path)

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """See `authz.ports.Observer`: nothing is learned."""

    def _send(self, kind: MessageKind, number: int, path: Sequence[bytes], body: bytes = b"") -> Channel | None:
        """The channel over which a path was sent; None where it cannot be sent now."""
        channel = self._channel
        if channel is None:
            return None
        try:
            descriptor = seal(packed(path))
        except OSError:
            return None
        try:
            return channel if channel.try_to_send(kind, number, body, descriptor) else None
        except PeerClosed:
            return None
        finally:
            os.close(descriptor)
