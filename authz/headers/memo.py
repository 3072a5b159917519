"""What a header's octets decode to, remembered: it never changes. Never what was decided about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from authz.headers.selection import Selected
    from authz.model import PresentedChain

MAX_BYTES: Final = 4 * 1024 * 1024
"""Octets of header values kept per organization: about 1,200 clients with a chain of two."""


class HeaderMemo:
    """One organization's decoded header values, bounded in octets; what was admitted first goes first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: dict[Selected, tuple[PresentedChain, ...]] = {}

    def get(self, selected: Selected) -> tuple[PresentedChain, ...] | None:
        """What `selected` decodes to, if it was admitted and is still kept."""
        return self._known.get(selected)

    def put(self, selected: Selected, chains: tuple[PresentedChain, ...]) -> None:
        """Keep it; call this only once the path in it was verified, so that strangers fill nothing."""
        if selected in self._known:
            return
        self._known[selected] = chains
        self._bytes += _cost(selected)
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._bytes -= _cost(oldest)

    def __len__(self) -> int:
        return len(self._known)


def _cost(selected: Selected) -> int:
    """The value, and what it decodes to: about three quarters of it."""
    return 2 * (len(selected.value) + len(selected.chain or b""))
