"""What a header's octets decode to, remembered: it never changes. Never what was decided about it."""

from __future__ import annotations

from typing import Final

from authz.headers.selection import Selected
from authz.model import PresentedChain
from authz.pki.cache import Cache, Tenant, alone

CHAIN_BYTES: Final = 512
"""A presented chain and its place in a tuple, besides its certificates; the selected header around its octets."""

DER_BYTES: Final = 64
"""A certificate's octets, besides them."""


class HeaderMemo:
    """One organization's decoded certificate headers: put there once the path in one was verified.

    `above` has what is behind the leaf in them, by its text, which headers of other clients share.
    """

    def __init__(self, tenant: Tenant | None = None) -> None:
        tenant = tenant or alone()
        self._decoded: Cache[Selected, tuple[PresentedChain, ...]] = Cache(tenant)
        self.above: Cache[bytes, tuple[bytes, ...]] = Cache(tenant)
        self.get = self._decoded.get

    def put(self, selected: Selected, decoded: tuple[PresentedChain, ...]) -> None:
        """Keep it; call this only once what is in it was found good, so that strangers fill nothing."""
        weight = CHAIN_BYTES + len(selected.value) + len(selected.chain or b"")
        weight += sum(CHAIN_BYTES + _weight((chain.leaf, *chain.others)) for chain in decoded)
        self._decoded.put(selected, decoded, weight)
        for chain in decoded:
            if chain.written is not None:
                self.above.put(chain.written, chain.others, len(chain.written) + _weight(chain.others))
                chain.written = None

    def __len__(self) -> int:
        return len(self._decoded)


def _weight(ders: tuple[bytes, ...]) -> int:
    return sum(DER_BYTES + len(der) for der in ders)
