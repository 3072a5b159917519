"""What a header's octets decode to, remembered: it never changes. Never what was decided about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from authz.headers.selection import Selected
from authz.model import PresentedChain

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES: Final = 4 * 1024 * 1024
"""Octets of header values kept per organization: about 1,200 clients with a chain of two."""

K = TypeVar("K")
V = TypeVar("V")


class OctetMemo(Generic[K, V]):
    """Values and what they decode to, bounded in octets by their `cost`; what was admitted first goes first."""

    def __init__(self, cost: Callable[[K], int], max_bytes: int) -> None:
        self._cost = cost
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """What `key` decodes to, if it was admitted and is still kept."""
        return self._known.get(key)

    def put(self, key: K, decoded: V) -> None:
        """Keep it; call this only once what is in it was found good, so that strangers fill nothing."""
        if key in self._known:
            return
        self._known[key] = decoded
        self._bytes += self._cost(key)
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._bytes -= self._cost(oldest)

    def __len__(self) -> int:
        return len(self._known)


class HeaderMemo(OctetMemo[Selected, tuple[PresentedChain, ...]]):
    """One organization's decoded certificate headers: put there once the path in one was verified."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(_cost, max_bytes)


def _cost(selected: Selected) -> int:
    """The value, and what it decodes to: about three quarters of it."""
    return 2 * (len(selected.value) + len(selected.chain or b""))
