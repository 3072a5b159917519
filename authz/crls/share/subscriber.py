"""The CRLs as another process keeps them: for a worker, of which there may be many.

Looks the same to checks as `authz.crls.refresher.Refresher` does: `authz.ports.CrlView`, `Source` and
`Observer`. A worker that was not told for 2 seconds that its CRLs are current looks at none of them.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Final

from authz.crls.load_keys import Noted, PathKey
from authz.crls.refusals import modes_for
from authz.crls.rules import CrlRules
from authz.crls.share.manifest import Listed
from authz.crls.share.protocol import Kind, Link, LinkLost, Message, packed
from authz.crls.share.publisher import ORGANIZATION, SealedMemory
from authz.crls.sources import urls_of
from authz.errors import IndexingError, NotLoaded, Refused
from authz.model import CheckRequest, Organization
from authz.pki import Certificate, Crl, CrlStore, ModeOf
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.decision import Decision
    from authz.view import Listener

CURRENT_SECONDS: Final = 2.0
"""How old the last word that nothing is missing may be before checks that need CRLs are answered 503."""

ASK_AGAIN_SECONDS: Final = 1.0
"""How long nobody is asked about a path again that he was asked about."""

MAX_ASKED: Final = 10_000
"""Paths that were asked about within the last second."""


class Follower:
    """Made inside the event loop; `follow` begins as soon as there is somebody to follow.

    `lost` is called when there is nobody any more, `failed_by` when this follower can know no more what counts.

    `open_crl` makes a CRL of sealed memory (it may take long, and is called in a thread), `monotonic` gives
    seconds, and is the clock of the process that keeps the CRLs, too. `warn` is told what the operator should mend.
    """

    def __init__(
        self,
        rules: CrlRules,
        memory: SealedMemory,
        *,
        open_crl: Callable[[int], Crl],
        monotonic: Callable[[], float],
        warn: Callable[[str], None],
    ) -> None:
        self._rules = rules
        self._memory = memory
        self._open = open_crl
        self._monotonic = monotonic
        self._warn = warn
        self._link: Link | None = None
        self._following: asyncio.Task[None] | None = None
        self._crls: dict[bytes, Crl] = {}
        self._listed = Listed({}, ())
        self._store: CrlStore | None = None
        self._current: float | None = None
        self._first = asyncio.Event()
        self._numbers = itertools.count()
        self._questions: dict[int, tuple[Link, asyncio.Future[None]]] = {}
        self._asking: dict[PathKey, asyncio.Future[None]] = {}
        self._asked: dict[bytes, float] = {}
        self._noted = Noted(monotonic)
        self.failed_by: Callable[[BaseException], None] = lambda _: None
        self.lost: Callable[[], None] = lambda: None

    # -- life ----------------------------------------------------------------------------------------------

    def follow(self, connection: socket.socket) -> None:
        """Listen to whoever keeps the CRLs now; what is held stays until he lists what counts."""
        if self._following is not None:
            self._following.cancel()
        # Whoever keeps the CRLs now was told of no path yet.
        self._noted.clear()
        self._link = Link(connection)
        self._following = asyncio.create_task(self._follow(self._link), name="following the CRLs")
        self._following.add_done_callback(self._ended)

    async def started(self) -> None:
        """Wait until the CRLs were told for the first time."""
        await self._first.wait()

    async def close(self) -> None:
        """Listen no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    @property
    def current(self) -> bool:
        """Whether everything that was so within the last 2 seconds was told."""
        return self._current is not None and self._monotonic() - self._current <= CURRENT_SECONDS

    async def _follow(self, link: Link) -> None:
        try:
            while True:
                await self._take(await link.receive())
        except LinkLost as lost:
            self._warn(f"the process that keeps the CRLs is out of reach: {lost}")
            if self._link is link:
                self.lost()
        finally:
            if self._link is link:
                self._link = None
            link.close()
            for number, (by, one) in list(self._questions.items()):
                if by is link:
                    del self._questions[number]
                    if not one.done():
                        gone = "the process that keeps the CRLs is out of reach"
                        one.set_exception(Refused(Reason.CRLS_UNAVAILABLE, gone))

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # What is missing here is nowhere written down: a worker begins anew rather than to know less.
            self.failed_by(error)

    async def _take(self, message: Message) -> None:
        try:
            if message.kind in {Kind.CRL, Kind.LISTED}:
                if message.descriptor is None:
                    raise IndexingError("a CRL, or a list, without its content")
                if message.kind == Kind.CRL:
                    await self._hold(message.body, message.descriptor)
                else:
                    self._list(Listed.from_bytes(self._memory.map(message.descriptor)))
            elif message.kind == Kind.CURRENT:
                self._current = message.number / 1e9
            elif message.kind == Kind.ANSWER:
                _, answered = self._questions.pop(message.number, (None, None))
                if answered is not None and not answered.done():
                    answered.set_result(None)
        finally:
            if message.descriptor is not None:
                os.close(message.descriptor)

    async def _hold(self, sha256: bytes, descriptor: int) -> None:
        """One more CRL, which does not count before it is listed. Raises `IndexingError`."""
        if sha256 in self._crls:
            return
        crl = await asyncio.to_thread(self._open, descriptor)
        if crl.sha256 != sha256:
            raise IndexingError("another CRL than was announced")
        self._crls[sha256] = crl

    def _list(self, listed: Listed) -> None:
        """What counts from now on. Raises `IndexingError`."""
        if not listed.signers.keys() <= self._crls.keys():
            raise IndexingError("a CRL is listed that did not come")
        if self._store is None or listed.signers != self._listed.signers:
            self._crls = {one: self._crls[one] for one in listed.signers}
            self._store = CrlStore(self._crls.values(), listed.signers)
        self._listed = listed
        self._first.set()

    # -- what checks look at -------------------------------------------------------------------------------

    def crls(self) -> CrlStore:
        """See `authz.ports.CrlView`. Raises `Refused` (crls_unavailable)."""
        if self._store is None or not self.current:
            raise Refused(Reason.CRLS_UNAVAILABLE, "nobody said for 2 s that the CRLs are current")
        return self._store

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See `authz.view.View`."""
        return modes_for(self._rules, self._listed.refused, organization)

    def directory_read(self, revision: Hashable) -> None:
        """See `authz.ports.CrlView`: the directory's CRLs are brought by whoever keeps all."""

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.view.View.request_crls`."""
        if not self._rules.points or not urls_of([Certificate.parse(one) for one in path]):
            return
        key = PathKey(organization.id, path)
        asked = self._asked.get(key.digest)
        if asked is None or self._monotonic() - asked > ASK_AGAIN_SECONDS:
            raise NotLoaded(key)

    # -- what checks wait for, and what they tell -----------------------------------------------------------

    async def load(self, key: Hashable) -> bool:
        """See `authz.ports.Source`: waits for the first try of distribution points; checks of one path share it."""
        if not isinstance(key, PathKey):
            return False
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = self._ask(key)
            asking.add_done_callback(lambda _: self._settle(key))
        # A check that gives up must not take the others' answer with it.
        await asyncio.shield(asking)
        return True

    def _ask(self, key: PathKey) -> asyncio.Future[None]:
        number = next(self._numbers)
        future = asyncio.get_running_loop().create_future()
        if self._link is not None and self._send(Kind.QUESTION, number, key.path, ORGANIZATION.pack(key.organization)):
            self._questions[number] = self._link, future
        else:
            future.set_exception(Refused(Reason.CRLS_UNAVAILABLE, "the process that keeps the CRLs cannot be asked"))
        return future

    def _settle(self, key: PathKey) -> None:
        answered = self._asking.pop(key)
        if answered.cancelled() or answered.exception() is not None:
            return
        if len(self._asked) >= MAX_ASKED:
            self._asked.clear()
        self._asked[key.digest] = self._monotonic()

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:  # noqa: ARG002
        """See `authz.ports.Observer`: the distribution points of a path that verified will be asked in time."""
        unknown = self._noted.unknown_in(decision) if self._rules.points else None
        if unknown is None:
            return
        organization, path = unknown
        if self._send(Kind.MET, organization.id, [one.der for one in path.certificates]):
            self._noted.add(organization, path)

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:
        """See `authz.ports.Observer`: nothing is learned."""

    def _send(self, kind: Kind, number: int, path: Sequence[bytes], body: bytes = b"") -> bool:
        """Whether the other end was told; it is not waited for."""
        if self._link is None:
            return False
        try:
            descriptor = self._memory.seal(packed(path))
        except OSError:
            return False
        try:
            return self._link.try_to_send(kind, number, body, descriptor)
        except LinkLost:
            return False
        finally:
            os.close(descriptor)
