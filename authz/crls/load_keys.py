"""What checks wait for when a path is seen for the first time, and which paths are known by now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from authz.crls.sources import urls_of

if TYPE_CHECKING:
    from authz.decision import Decision
    from authz.model import Organization
    from authz.pki import VerifiedPath

MAX_REPORTED: Final = 100_000
"""Leaves, and paths, that are remembered as reported; then all are reported anew."""

REPORT_AGAIN_SECONDS: Final = 3_600.0
"""How often a path is reported again: what no path met for a day is let go of."""


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


class ReportedPaths:
    """Verified paths that were reported within the hour; bounded. `monotonic` gives seconds.

    Of the leaves of one organization with the same CAs and distribution points, one is reported for all.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since = monotonic()
        self._quick: set[tuple[object, ...]] = set()
        self._paths: set[bytes] = set()

    def unknown_in(self, decision: Decision) -> tuple[Organization, VerifiedPath] | None:
        """The path that a decision verified, and whose it is, unless one like it was reported."""
        organization, path = decision.evidence.organization, decision.evidence.path
        if path is None or organization is None:
            return None
        if self._monotonic() - self._since >= REPORT_AGAIN_SECONDS:
            self.clear()
        if _quick_key(organization, path) in self._quick:
            return None
        if _digest(organization, path) in self._paths:
            self._leave_out(organization, path)
            return None
        return organization, path

    def add(self, organization: Organization, path: VerifiedPath) -> None:
        """It is known from now on."""
        if len(self._paths) >= MAX_REPORTED:
            self._paths.clear()
        self._paths.add(_digest(organization, path))
        self._leave_out(organization, path)

    def _leave_out(self, organization: Organization, path: VerifiedPath) -> None:
        """The quick key is found faster than the digest; a leaf whose points are not asked is not worth 180 bytes."""
        key = _quick_key(organization, path)
        if key[1] is not None and not urls_of(path.certificates):
            return
        if len(self._quick) >= MAX_REPORTED:
            self._quick.clear()
        self._quick.add(key)

    def clear(self) -> None:
        """None is known any more."""
        self._since = self._monotonic()
        self._quick.clear()
        self._paths.clear()


def _quick_key(organization: Organization, path: VerifiedPath) -> tuple[object, ...]:
    """What fixes the digest: the leaf, or the CAs alone where the leaf names no points."""
    leaf, *cas = path.certificates
    if leaf.extensions.distribution_points or leaf.extensions.freshest_crl:
        return organization.id, leaf.sha256
    return organization.id, None, *map(_sha256, cas)


_sha256: Final = attrgetter("sha256")


def _digest(organization: Organization, path: VerifiedPath) -> bytes:
    """What the CRL process learns of a path: whose it is, its CAs, and where its CRLs come from."""
    digest = hashlib.sha256(organization.id.to_bytes(8, "big"))
    for certificate in path.certificates[1:]:
        digest.update(certificate.sha256)
    for url in urls_of(path.certificates):
        digest.update(hashlib.sha256(url.encode()).digest())
    return digest.digest()
