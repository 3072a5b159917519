"""How much of the disk the bodies under way may take: no party's transfers keep another's CRL out. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Final, NamedTuple

from authz.crls.failures import FailureKind, FetchFailed

PARTIES: Final = 32
"""Parties that may have a transfer under way (`fair_queue.MAX_ATTEMPTS`): each has its part, whatever others do."""

GROWTH: Final = 10
"""A CRL may be longer than the one that it replaces by one part in so many, whatever others do."""


class Claim(NamedTuple):
    """Whose a transfer is, and how many bytes the copy has that it is to replace."""

    party: Hashable
    replaced: int = 0


class TransferQuota:
    """`together` bytes for all. A party may have half of what the others leave, and always its part of all."""

    def __init__(self, together: int) -> None:
        self._together = together
        self._sizes: dict[Path, tuple[Hashable, int]] = {}

    def grow(self, path: Path, size: int, claim: Claim) -> None:
        """The file is to have so many bytes. Raises `FetchFailed` (storage)."""
        own = sum(taken for other, (party, taken) in self._sizes.items() if party == claim.party and other != path)
        others = sum(taken for party, taken in self._sizes.values() if party != claim.party)
        share = max((self._together - others) // 2, self._together // PARTIES)
        room = max(share - own, claim.replaced + claim.replaced // GROWTH)
        if size > room:
            raise FetchFailed(
                FailureKind.STORAGE, f"too many CRLs are on their way: this one may have {max(room, 0)} bytes now"
            )
        self._sizes[path] = claim.party, size

    def remove(self, path: Path) -> None:
        """The file is no transfer any more."""
        self._sizes.pop(path, None)
