"""What checks wait for when a path is seen for the first time, and which paths are known by now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from authz.crls.sources import urls_of

if TYPE_CHECKING:
    from authz.decision import Decision
    from authz.model import Organization
    from authz.pki import VerifiedPath

MAX_NOTED: Final = 100_000
"""Leaves of which it is remembered that their path was told of; then all are met anew."""

TELL_AGAIN_SECONDS: Final = 3_600.0
"""How often a path is told of again: what was met on none for a day is let go of."""


@dataclass(frozen=True, slots=True)
class _OfPoints:
    """Something about distribution points, on behalf of one organization."""

    organization: int

    @property
    def queue(self) -> Hashable:
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
    """Verified paths that were told of within the hour; bounded. `monotonic` gives seconds.

    Of leaves of one organization, with the same CAs and distribution points, one is told of for all.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since = monotonic()
        self._leaves: set[tuple[int, bytes]] = set()
        self._paths: set[bytes] = set()

    def unknown_in(self, decision: Decision) -> tuple[Organization, VerifiedPath] | None:
        """The path that a decision verified, and whose it is, unless one like it was noted."""
        organization, path = decision.evidence.organization, decision.evidence.path
        if path is None or organization is None:
            return None
        if self._monotonic() - self._since >= TELL_AGAIN_SECONDS:
            self.clear()
        if (organization.id, path.leaf.sha256) in self._leaves:
            return None
        if _digest(organization, path) in self._paths:
            self._leave_out(organization, path)
            return None
        return organization, path

    def add(self, organization: Organization, path: VerifiedPath) -> None:
        """It is known from now on."""
        if len(self._paths) >= MAX_NOTED:
            self._paths.clear()
        self._paths.add(_digest(organization, path))
        self._leave_out(organization, path)

    def _leave_out(self, organization: Organization, path: VerifiedPath) -> None:
        """A leaf that names points is looked up faster by itself; for others that is not worth 180 octets each."""
        if not urls_of(path.certificates):
            return
        if len(self._leaves) >= MAX_NOTED:
            self._leaves.clear()
        self._leaves.add((organization.id, path.leaf.sha256))

    def clear(self) -> None:
        """None is known any more."""
        self._since = self._monotonic()
        self._leaves.clear()
        self._paths.clear()


def _digest(organization: Organization, path: VerifiedPath) -> bytes:
    """What the keeper of the CRLs learns of a path: whose it is, its CAs, and where its CRLs come from."""
    digest = hashlib.sha256(organization.id.to_bytes(8, "big"))
    for one in path.certificates[1:]:
        digest.update(one.sha256)
    for url in urls_of(path.certificates):
        digest.update(hashlib.sha256(url.encode()).digest())
    return digest.digest()
