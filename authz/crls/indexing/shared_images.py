"""The CRLs of one process as sealed memory, to be handed to others: made once, used by all.

The images of large CRLs outlive the process that had them made: whoever restarts it keeps their descriptors,
and a CRL whose file did not change is not indexed again. Sealed memory is what a process of ours made of
verified DER, and nothing else; that it belongs to the file is told by the SHA-256 of all of it, and the
signature is verified again under the keys given.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import weakref
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final

from authz.crls.indexing.client import SMALL_OCTETS, crl_of, index_crl, make_sealed_image, opened
from authz.crls.indexing.sealed_memory import map_sealed, seal
from authz.errors import IndexingError, Refused
from authz.pki.crl.crl import Crl
from authz.pki.crl.image import MAGIC, verified_under

CHUNK: Final = 1 << 20


def _nobody(sha256: bytes, descriptor: int) -> None:
    """For a shelf whose images nobody else keeps."""


class Shelf:
    """Sealed memory by the SHA-256 of the CRL; it goes with the last `Crl` made of it.

    `images` are descriptors of images that are there from before, and become the shelf's. `kept` is told of a
    new image and its descriptor, `dropped` of one that goes; the descriptor is the shelf's, and is closed after.
    """

    def __init__(
        self,
        images: dict[bytes, int] | None = None,
        *,
        kept: Callable[[bytes, int], None] = _nobody,
        dropped: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._sealed: dict[bytes, int] = dict(images or {})
        self._images: set[bytes] = set(self._sealed)
        self._users: Counter[bytes] = Counter()
        self._kept = kept
        self._dropped = dropped

    async def index(self, source: Path | int, keys: Collection[bytes]) -> Crl:
        """As `authz.crls.indexing.client.index_crl`; an image that is there already is not made again."""
        with opened(source) as (descriptor, octets):
            if octets <= SMALL_OCTETS:
                return await index_crl(descriptor, keys)
            there = self._sealed.get(sha256 := await asyncio.to_thread(_sha256_of, descriptor))
            if there is not None:
                try:
                    # One of our own: the shelf's may be given back, and its number be another's, while a thread reads.
                    crl = await self._add(os.dup(there))
                except IndexingError:
                    # Made by another version, before an upgrade.
                    if self._sealed.get(sha256) == there:
                        self._close(sha256)
                else:
                    await asyncio.to_thread(verified_under, crl.signed, keys)
                    return crl
            return await self._add(await make_sealed_image(descriptor, keys))

    async def _add(self, image: int) -> Crl:
        try:
            crl = await asyncio.to_thread(crl_of, image)
        except BaseException:
            os.close(image)
            raise
        if crl.sha256 in self._sealed:
            os.close(image)
        else:
            self._sealed[crl.sha256] = image
            self._images.add(crl.sha256)
            self._kept(crl.sha256, image)
        self._use(crl)
        return crl

    def descriptor(self, crl: Crl) -> int:
        """Sealed memory of which `open_sealed` makes the CRL again; it stays the shelf's. Raises `OSError`."""
        found = self._sealed.get(crl.sha256)
        if found is None:
            if crl.der is None:
                raise IndexingError("an image that this shelf did not make")
            found = self._sealed[crl.sha256] = seal([crl.der])
            self._use(crl)
        return found

    def forget_unused(self) -> None:
        """Give back what is there from before and was never asked for."""
        for one in [one for one in self._sealed if not self._users[one]]:
            self._close(one)

    def _use(self, crl: Crl) -> None:
        self._users[crl.sha256] += 1
        weakref.finalize(crl, partial(self._release, crl.sha256)).atexit = False

    def _release(self, sha256: bytes) -> None:
        self._users[sha256] -= 1
        if self._users[sha256] <= 0:
            del self._users[sha256]
            self._close(sha256)

    def _close(self, sha256: bytes) -> None:
        os.close(self._sealed.pop(sha256))
        if sha256 in self._images:
            self._images.discard(sha256)
            self._dropped(sha256)


def open_sealed(descriptor: int) -> Crl:
    """The CRL of what `Shelf.descriptor` gave; the descriptor is not needed any more.

    Raises `IndexingError` for memory that is not sealed or holds no CRL.
    """
    view = map_sealed(descriptor)
    if bytes(view[: len(MAGIC)]) == MAGIC:
        return crl_of(descriptor)
    try:
        return Crl(bytes(view))
    except Refused as refusal:
        raise IndexingError(f"what was handed over is no CRL: {refusal.detail}") from refusal


def _sha256_of(descriptor: int) -> bytes:
    """Of a regular file, whatever its offset."""
    found = hashlib.sha256()
    at = 0
    while piece := os.pread(descriptor, CHUNK, at):
        found.update(piece)
        at += len(piece)
    return found.digest()
