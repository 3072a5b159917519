"""A cache of decoded headers: the same bytes always decode to the same chains. Decisions are never cached."""

from __future__ import annotations

from typing import Final

from authz.headers.selection import Selected
from authz.model import PresentedChain
from authz.pki.cache import Cache, Tenant, alone

CHAIN_BYTES: Final = 512
"""Bytes of a presented chain besides its certificates, and of a selected header besides its value."""

DER_BYTES: Final = 64
"""Bytes of the object that holds a certificate's DER, besides the DER."""


class DecodeCache:
    """One organization's decoded certificate headers, each cached once its path was verified.

    `intermediates` has the certificates after the leaf by their text, which is the same in headers of other clients.
    """

    def __init__(self, tenant: Tenant | None = None) -> None:
        tenant = tenant or alone()
        self._decoded: Cache[Selected, tuple[PresentedChain, ...]] = Cache(tenant)
        self.intermediates: Cache[bytes, tuple[bytes, ...]] = Cache(tenant)
        self.get = self._decoded.get

    def put(self, selected: Selected, decoded: tuple[PresentedChain, ...]) -> None:
        """Cache it once its path was verified, not before: unauthenticated clients must not fill the cache."""
        weight = CHAIN_BYTES + len(selected.value) + len(selected.chain or b"")
        for chain in decoded:
            weight += CHAIN_BYTES + _weight((chain.leaf, *chain.intermediates))
        self._decoded.put(selected, decoded, weight)
        for chain in decoded:
            text, chain.encoded_intermediates = chain.encoded_intermediates, None
            if text is not None:
                self.intermediates.put(text, chain.intermediates, len(text) + _weight(chain.intermediates))

    def __len__(self) -> int:
        return len(self._decoded)


def _weight(ders: tuple[bytes, ...]) -> int:
    return DER_BYTES * len(ders) + sum(map(len, ders))
