"""The CRLs that operators put into the directory, brought up to date beside the checks.

Small ones are read at once. A large one is indexed on the side, for as long as that takes; until it is
ready the CRLs held before go on answering, those it replaces among them, and no other CRL waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from typing import Final, Protocol

from authz.crls.acceptance import SignedCrl
from authz.crls.indexing.client import SMALL_CRL
from authz.errors import IndexingError, Refused
from authz.model import CrlRow
from authz.pki import Crl

RETRY_SECONDS: Final = 10.0
"""How long after a failure of ours, no memory say, a large CRL is tried again."""

MAX_UNREADABLE: Final = 1_000
"""Unreadable CRLs that are remembered, so that each is reported once."""


class CrlRows(Protocol):
    """Where CRLs are kept: `authz.directory.DirectoryReader`."""

    async def listed(self) -> list[CrlRow]:
        """Every CRL, the smallest first. Raises `Refused` (directory_unavailable)."""
        ...

    async def der(self, sha256: bytes) -> bytes | None:
        """One CRL; None if it went meanwhile. Raises `Refused` (directory_unavailable)."""
        ...


class DirectoryCrls:
    """Holds what is listed, once it was read; `on_change` is called with all of it whenever that is something else.

    `index` makes a CRL of its DER and the key that signed it. It raises `Refused`, or `IndexingError`.
    """

    def __init__(
        self,
        rows: CrlRows,
        *,
        index: Callable[[bytes, bytes], Awaitable[Crl]],
        on_change: Callable[[Iterable[SignedCrl]], None],
        warn: Callable[[str], None],
        retry: float = RETRY_SECONDS,
    ) -> None:
        self.revision: Hashable = object()
        self._rows = rows
        self._index = index
        self._on_change = on_change
        self._warn = warn
        self._retry = retry
        self._read: dict[bytes, SignedCrl] = {}
        self._unreadable: set[bytes] = set()
        self._wanted: set[bytes] = set()
        self._indexing: dict[bytes, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()

    def __iter__(self) -> Iterator[SignedCrl]:
        return iter(self._read.values())

    async def bring(self, revision: Hashable) -> None:
        """Take over what is listed at `revision` or later, but for what is still being indexed.

        A revision that is not the one before says that something changed.

        Raises `Refused` (directory_unavailable); then everything stays as it is.
        """
        async with self._lock:
            if self.revision == revision:
                return
            listed = await self._rows.listed()
            for row in listed:
                known = row.sha256 in self._read or row.sha256 in self._unreadable
                if not known and row.sha256 not in self._indexing:
                    await self._begin(row)
            self._wanted = {row.sha256 for row in listed}
            self._publish()
            self.revision = revision

    async def settled(self) -> None:
        """Wait until nothing is being indexed."""
        while self._indexing:
            await asyncio.wait(list(self._indexing.values()))

    async def close(self) -> None:
        """Index no more."""
        tasks = list(self._indexing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A task that was cancelled before it began never ran to take itself out.
        self._indexing.clear()

    async def _begin(self, row: CrlRow) -> None:
        if row.size <= SMALL_CRL or not row.signer_spki:
            await self._make(row)
            return
        self._indexing[row.sha256] = asyncio.create_task(self._make_and_publish(row), name="indexing a CRL")

    async def _make_and_publish(self, row: CrlRow) -> None:
        try:
            await self._make(row)
        except (Refused, IndexingError) as problem:
            # Nothing is known of the CRL itself.
            self._warn(f"CRL {row.sha256.hex()} is not indexed yet: {problem}")
            asyncio.get_running_loop().call_later(self._retry, self._try_again)
        finally:
            self._indexing.pop(row.sha256, None)
        self._publish()

    def _try_again(self) -> None:
        self.revision = object()

    async def _make(self, row: CrlRow) -> None:
        der = await self._rows.der(row.sha256)
        if der is None:
            return
        try:
            small = row.size <= SMALL_CRL
            # Of what an earlier version added the key is not known: a thread reads it, which the loop feels.
            crl = (
                Crl(der)
                if small
                else await (self._index(der, row.signer_spki) if row.signer_spki else asyncio.to_thread(Crl, der))
            )
            self._read[row.sha256] = SignedCrl(crl, row.signer_spki_sha256)
        except Refused as refusal:
            if refusal.reason.status == 503:
                raise
            if len(self._unreadable) < MAX_UNREADABLE:
                self._unreadable.add(row.sha256)
            self._warn(f"CRL {row.sha256.hex()} is left out: {refusal}")

    def _publish(self) -> None:
        """What is listed; while something is being indexed, everything held besides."""
        if not self._indexing:
            self._read = {sha256: signed for sha256, signed in self._read.items() if sha256 in self._wanted}
        self._on_change(self)


class RevisionFollower:
    """Takes the directory's CRLs over as its revision changes, and knows since when they are behind.

    `monotonic` gives seconds; the rest is as in `DirectoryCrls`. A revision read before `start` is taken over by it.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        index: Callable[[bytes, bytes], Awaitable[Crl]],
        on_change: Callable[[Iterable[SignedCrl]], None],
        warn: Callable[[str], None],
    ) -> None:
        self._monotonic = monotonic
        self._index = index
        self._on_change = on_change
        self._warn = warn
        self._revision: Hashable = None
        self._crls: DirectoryCrls | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self._behind_since: float | None = None

    async def start(self, rows: CrlRows) -> None:
        """Read what the directory has, and follow it from then on. Raises `Refused` (directory_unavailable)."""
        crls = DirectoryCrls(rows, index=self._index, on_change=self._on_change, warn=self._warn)
        await crls.bring(self._revision)
        await crls.settled()
        self._crls = crls

    def read(self, revision: Hashable) -> None:
        """The directory was found to have that revision."""
        self._revision = revision
        if self._crls is None or self._crls.revision == revision:
            self._behind_since = None
            return
        if self._behind_since is None:
            self._behind_since = self._monotonic()
        if self._catching_up is None or self._catching_up.done():
            # Beside the directory's reader: many new CRLs must not make the revision look unconfirmed.
            self._catching_up = asyncio.create_task(self._catch_up(self._crls), name="CRLs of the directory")

    async def _catch_up(self, crls: DirectoryCrls) -> None:
        began = self._monotonic()
        with contextlib.suppress(Refused):
            await crls.bring(self._revision)
            # What was there when it began is taken over; what came meanwhile is next.
            self._behind_since = None if crls.revision == self._revision else began

    def current_at(self, confirmed: float) -> float | None:
        """The moment up to which all was taken over, of a directory whose revision was `confirmed` at that moment."""
        if self._crls is None:
            return None
        return confirmed if self._behind_since is None else min(confirmed, self._behind_since)

    async def close(self) -> None:
        """Follow no more."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            await asyncio.gather(self._catching_up, return_exceptions=True)
        if self._crls is not None:
            await self._crls.close()
