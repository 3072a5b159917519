"""The CRLs of the directory in memory, brought up to date beside the checks.

Small ones are read at once. A large one is indexed on the side, for as long as that takes; until it is
ready the CRLs held before go on answering, those it replaces among them, and no other CRL waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from authz.errors import Refused
from authz.pki import Crl, CrlStore

SMALL_BYTES: Final = 64 * 1024
"""Octets of a CRL that is read at once: about 1,500 entries, 10 ms."""

RETRY_SECONDS: Final = 10.0
"""How long after a failure of ours, no memory say, a large CRL is tried again."""

MAX_UNREADABLE: Final = 1_000
"""Unreadable CRLs that are remembered, so that each is told once."""


class CrlRows(Protocol):
    """Where CRLs are kept: `authz.directory.session.Session`, its calls made in its thread."""

    async def listed(self) -> list[tuple[bytes, bytes, int]]:
        """SHA-256, signer and size of every CRL, the smallest first. Raises `Refused` (directory_unavailable)."""
        ...

    async def der(self, sha256: bytes) -> bytes | None:
        """One CRL; None if it went meanwhile. Raises `Refused` (directory_unavailable)."""
        ...


class CrlLoader:
    """Holds `store`, None before everything was read once. `index` makes a CRL of its DER, or raises `Refused`."""

    def __init__(
        self,
        rows: CrlRows,
        *,
        index: Callable[[bytes], Awaitable[Crl]],
        warn: Callable[[str], None],
        retry: float = RETRY_SECONDS,
    ) -> None:
        self.store: CrlStore | None = None
        self.revision = -1
        self._rows = rows
        self._index = index
        self._warn = warn
        self._retry = retry
        self._read: dict[bytes, Crl] = {}
        self._signers: dict[bytes, bytes] = {}
        self._unreadable: set[bytes] = set()
        self._wanted: set[bytes] = set()
        self._indexing: dict[bytes, asyncio.Task[None]] = {}
        self._lock = asyncio.Lock()

    async def bring(self, revision: int) -> None:
        """Take over what is listed at `revision` or later, but for what is still being indexed.

        Raises `Refused` (directory_unavailable); then everything stays as it is.
        """
        async with self._lock:
            if self.revision == revision:
                return
            listed = await self._rows.listed()
            for sha256, _, size in listed:
                if sha256 not in self._read and sha256 not in self._unreadable and sha256 not in self._indexing:
                    await self._begin(sha256, size)
            self._signers.update((sha256, signer) for sha256, signer, _ in listed)
            self._wanted = {sha256 for sha256, _, _ in listed}
            self._publish()
            self.revision = revision

    async def settled(self) -> None:
        """Wait until nothing is being indexed."""
        while self._indexing:
            await asyncio.wait(list(self._indexing.values()))

    def forget(self) -> None:
        """Everything known means nothing any more."""
        self.store, self.revision = None, -1
        self._read.clear()
        self._signers.clear()
        self._unreadable.clear()

    async def close(self) -> None:
        """Index no more."""
        tasks = list(self._indexing.values())
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A task that was cancelled before it began never ran to take itself out.
        self._indexing.clear()

    async def _begin(self, sha256: bytes, size: int) -> None:
        if size <= SMALL_BYTES:
            await self._make(sha256)
            return
        task = asyncio.create_task(self._make_and_publish(sha256), name="indexing a CRL")
        self._indexing[sha256] = task

    async def _make_and_publish(self, sha256: bytes) -> None:
        try:
            await self._make(sha256)
        except Refused as refusal:
            # Nothing is known of the CRL itself.
            self._warn(f"CRL {sha256.hex()} is not indexed yet: {refusal}")
            asyncio.get_running_loop().call_later(self._retry, self._try_again)
        finally:
            self._indexing.pop(sha256, None)
        self._publish()

    def _try_again(self) -> None:
        self.revision = -1

    async def _make(self, sha256: bytes) -> None:
        der = await self._rows.der(sha256)
        if der is None:
            return
        try:
            self._read[sha256] = await self._index(der)
        except Refused as refusal:
            if refusal.reason.status == 503:
                raise
            if len(self._unreadable) < MAX_UNREADABLE:
                self._unreadable.add(sha256)
            self._warn(f"CRL {sha256.hex()} is left out: {refusal}")

    def _publish(self) -> None:
        """What is listed; while something is being indexed, everything held besides."""
        if not self._indexing:
            self._read = {sha256: crl for sha256, crl in self._read.items() if sha256 in self._wanted}
            self._signers = {sha256: one for sha256, one in self._signers.items() if sha256 in self._wanted}
        self.store = CrlStore(self._read.values(), self._signers)
