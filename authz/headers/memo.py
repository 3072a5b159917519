"""What a header's octets decode to, remembered: it never changes. Never what was decided about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from authz.headers.selection import Selected
from authz.model import PresentedChain

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES: Final = 4 * 1024 * 1024
"""Octets of header values kept per organization: about 1,200 clients with a chain of two."""

MAX_ABOVE_BYTES: Final = 64 * 1024
"""Octets of what stands behind the leaf in them: that of some 25 CAs."""

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
    """One organization's decoded certificate headers: put there once the path in one was verified.

    `above` has what is behind the leaf in them, by its text, which headers of other clients share.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, max_above: int = MAX_ABOVE_BYTES) -> None:
        super().__init__(_cost, max_bytes)
        self.above: OctetMemo[bytes, tuple[bytes, ...]] = OctetMemo(_cost_of_text, max_above)

    def put(self, key: Selected, decoded: tuple[PresentedChain, ...]) -> None:
        """See `OctetMemo`."""
        super().put(key, decoded)
        for one in decoded:
            if one.written is not None:
                self.above.put(one.written, one.others)
                one.written = None


def _cost(selected: Selected) -> int:
    """The value, and what it decodes to: about three quarters of it."""
    return 2 * (len(selected.value) + len(selected.chain or b""))


def _cost_of_text(text: bytes) -> int:
    return 2 * len(text)
