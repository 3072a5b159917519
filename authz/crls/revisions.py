"""Takes the directory's CRLs over as its revision changes, beside the checks; knows since when they are behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Hashable

from authz.crls.directory_crls import CrlLoader
from authz.errors import Refused


class Revisions:
    """`monotonic` gives seconds. Made before there is a `CrlLoader`, which `follow` brings to what was read since."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._revision: Hashable = None
        self._loader: CrlLoader | None = None
        self._bringing: asyncio.Task[None] | None = None
        self._behind_since: float | None = None

    async def follow(self, loader: CrlLoader) -> None:
        """Have `loader` hold what the directory has, and follow it from then on.

        Raises `Refused` (directory_unavailable).
        """
        await loader.bring(self._revision)
        await loader.settled()
        self._loader = loader

    def read(self, revision: Hashable) -> None:
        """The directory was found to have that revision."""
        self._revision = revision
        if self._loader is None or self._loader.revision == revision:
            self._behind_since = None
            return
        if self._behind_since is None:
            self._behind_since = self._monotonic()
        if self._bringing is None or self._bringing.done():
            # Beside the directory's reader: many new CRLs must not make the revision look unconfirmed.
            self._bringing = asyncio.create_task(self._bring(self._loader), name="CRLs of the directory")

    async def _bring(self, loader: CrlLoader) -> None:
        began = self._monotonic()
        with contextlib.suppress(Refused):
            await loader.bring(self._revision)
            # What was there when it began is taken over; what came meanwhile is next.
            self._behind_since = None if loader.revision == self._revision else began

    def current_at(self, confirmed: float) -> float | None:
        """The moment up to which all was taken over, of a directory whose revision was `confirmed` at that moment."""
        if self._loader is None:
            return None
        return confirmed if self._behind_since is None else min(confirmed, self._behind_since)

    async def close(self) -> None:
        """Follow no more."""
        if self._bringing is not None:
            self._bringing.cancel()
            await asyncio.gather(self._bringing, return_exceptions=True)
        if self._loader is not None:
            await self._loader.close()
