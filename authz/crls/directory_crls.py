"""The CRLs that operators put into the directory, brought up to date beside the checks.

Small ones are read at once. A large one is indexed on the side, for as long as that takes; until it is
ready the CRLs held before go on answering, those it replaces among them, and no other CRL waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Final, Protocol

from authz.crls.acceptance import Held
from authz.errors import IndexingError, Refused
from authz.model import CrlRow
from authz.pki import Crl

SMALL_OCTETS: Final = 32 * 1024
"""A CRL up to this length is read at once: 2 ms, and 9 ms for the worst that can be made; the bound is 20 ms."""

RETRY_SECONDS: Final = 10.0
"""How long after a failure of ours, no memory say, a large CRL is tried again."""

MAX_UNREADABLE: Final = 1_000
"""Unreadable CRLs that are remembered, so that each is told once."""


class CrlRows(Protocol):
    """Where CRLs are kept: `authz.directory.DirectoryReader`."""

    async def listed(self) -> list[CrlRow]:
        """Every CRL, the smallest first. Raises `Refused` (directory_unavailable)."""
        ...

    async def der(self, sha256: bytes) -> bytes | None:
        """One CRL; None if it went meanwhile. Raises `Refused` (directory_unavailable)."""
        ...


class CrlLoader:
    """Holds what is listed, once it was read; `changed` is called whenever that is something else.

    `index` makes a CRL of its DER and the key that signed it. It raises `Refused`, or `IndexingError`.
    """

    def __init__(
        self,
        rows: CrlRows,
        *,
        index: Callable[[bytes, bytes], Awaitable[Crl]],
        changed: Callable[[], None],
        warn: Callable[[str], None],
        retry: float = RETRY_SECONDS,
    ) -> None:
        self.revision: Hashable = object()
        self._rows = rows
        self._index = index
        self._changed = changed
        self._warn = warn
        self._retry = retry
        self._read: dict[bytes, Held] = {}
        self._unreadable: set[bytes] = set()
        self._wanted: set[bytes] = set()
        self._indexing: dict[bytes, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()

    def __iter__(self) -> Iterator[Held]:
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
            for one in listed:
                known = one.sha256 in self._read or one.sha256 in self._unreadable
                if not known and one.sha256 not in self._indexing:
                    await self._begin(one)
            self._wanted = {one.sha256 for one in listed}
            self._publish()
            self.revision = revision

    async def settled(self) -> None:
        """Wait until nothing is being indexed."""
        while self._indexing:
            await asyncio.wait(list(self._indexing.values()))

    async def close(self) -> None:
        """Index no more."""
        tasks = list(self._indexing.values())
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A task that was cancelled before it began never ran to take itself out.
        self._indexing.clear()

    async def _begin(self, row: CrlRow) -> None:
        if row.size <= SMALL_OCTETS or not row.signer_spki:
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
            small = row.size <= SMALL_OCTETS
            # Of what an earlier version added the key is not known: a thread reads it, which the loop feels.
            crl = (
                Crl(der)
                if small
                else await (self._index(der, row.signer_spki) if row.signer_spki else asyncio.to_thread(Crl, der))
            )
            self._read[row.sha256] = Held(crl, row.signer_spki_sha256)
        except Refused as refusal:
            if refusal.reason.status == 503:
                raise
            if len(self._unreadable) < MAX_UNREADABLE:
                self._unreadable.add(row.sha256)
            self._warn(f"CRL {row.sha256.hex()} is left out: {refusal}")

    def _publish(self) -> None:
        """What is listed; while something is being indexed, everything held besides."""
        if not self._indexing:
            self._read = {sha256: held for sha256, held in self._read.items() if sha256 in self._wanted}
        self._changed()
