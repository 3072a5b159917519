"""What checks wait for when a path is seen for the first time, and which paths are known by now."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authz.crl_source.sources import urls_of

if TYPE_CHECKING:
    from authz.decision import Decision
    from authz.model import Organization
    from authz.pki import VerifiedPath

MAX_NOTED: Final = 100_000
"""Leaves of which it is remembered that the distribution points of their path are known; then all are met anew."""


@dataclass(frozen=True, slots=True)
class _OfPoints:
    """Something about distribution points, on behalf of one organization."""

    organization: int

    @property
    def pool(self) -> Hashable:
        """The organization's checks that wait for CRLs; those that wait for rows are not held up by them."""
        return "points", self.organization


@dataclass(frozen=True, slots=True)
class PointsKey(_OfPoints):
    """Distribution points that were not asked yet."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PathKey(_OfPoints):
    """A path (DER, leaf first, anchor last) with distribution points that may be worth a try."""

    path: tuple[bytes, ...]

    @property
    def digest(self) -> bytes:
        """What is remembered of it: a client's path has up to ten certificates."""
        return hashlib.sha256(self.organization.to_bytes(8, "big") + b"".join(self.path)).digest()


@dataclass(frozen=True, slots=True)
class CrlsKey:
    """All CRLs, before they were read for the first time."""


class Noted:
    """Verified paths with distribution points that were told of, by organization and leaf; bounded."""

    def __init__(self) -> None:
        self._leaves: set[tuple[int, bytes]] = set()

    def unknown_in(self, decision: Decision) -> tuple[Organization, VerifiedPath] | None:
        """The path that a decision verified, and whose it is, unless it was noted or has nothing to be told of."""
        organization, path = decision.evidence.organization, decision.evidence.path
        if path is None or organization is None or (organization.id, path.leaf.sha256) in self._leaves:
            return None
        # Looked up again and again, in less than 1 us, where to remember each leaf would take 180 octets.
        return (organization, path) if urls_of(path.certificates) else None

    def add(self, organization: Organization, path: VerifiedPath) -> None:
        """It is known from now on."""
        if len(self._leaves) >= MAX_NOTED:
            self._leaves.clear()
        self._leaves.add((organization.id, path.leaf.sha256))

    def clear(self) -> None:
        """None is known any more."""
        self._leaves.clear()
