"""Claims that were read and found an organization's own, remembered for it. Never what was decided about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from authz.headers import OctetMemo
from authz.identity.claims import ReadClaims

MAX_REMEMBERED: Final = 1024 * 1024
"""Octets of tokens remembered per organization: some 2,500 of the usual size. Claims take a few times that."""

MAX_MEMOS: Final = 1_000
"""Organizations whose tokens are remembered at a time; the one met first goes first."""

K = TypeVar("K")


class ClaimsMemos(Generic[K]):
    """For each organization, claims by what they were read from, bounded by the octets that `cost` says of that.

    An organization's room is its own: whatever another's tokens are, they push nothing out of it.
    """

    def __init__(self, cost: Callable[[K], int]) -> None:
        self._cost = cost
        self._memos: dict[int, OctetMemo[K, ReadClaims]] = {}

    def get(self, organization: int, key: K) -> ReadClaims | None:
        """The claims remembered for the organization of that number, or None."""
        memo = self._memos.get(organization)
        return None if memo is None else memo.get(key)

    def put(self, organization: int, key: K, claims: ReadClaims) -> None:
        """Remember them; call this only once they named one of its users, valid now, so that strangers fill nothing."""
        memo = self._memos.get(organization)
        if memo is None:
            memo = self._memos[organization] = OctetMemo(self._cost, MAX_REMEMBERED)
            if len(self._memos) > MAX_MEMOS:
                del self._memos[next(iter(self._memos))]
        memo.put(key, claims)

    def __len__(self) -> int:
        return sum(map(len, self._memos.values()))
