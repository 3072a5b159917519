"""How long distribution points and the CRLs from them are kept: nothing of an organization outlives it.

A copy stays as long as its signer is a CA of the directory, or was met within a day on a path of an organization that
is active; a point as long as such an organization names it. What the operator named is the operator's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Hashable, Iterable
from datetime import datetime, timedelta
from typing import Final, Protocol

from authz.crls.disk_store import CrlDiskStore, DiskStoreFailed
from authz.crls.sightings import NO_ORGANIZATION, Sightings
from authz.crls.sources import CrlSource, CrlSources, urls_of
from authz.crls.store import CrlRegistry, HeldCrl
from authz.errors import Refused
from authz.model import CrlSourceKind
from authz.pki import Certificate

LOOK_EVERY: Final = timedelta(minutes=1)
"""How often everything is looked at when no trust has changed; at most as much is not written when we are killed."""


class Tenants(Protocol):
    """The directory, as far as it says who there is: `authz.directory.DirectoryReader`."""

    @property
    def revision(self) -> Hashable:
        """Another one after each change of an organization, anchor or intermediate."""
        ...

    async def authorities(self) -> list[bytes]:
        """Every organization's anchors and intermediates, in DER. Raises `Refused` (directory_unavailable)."""
        ...

    async def active(self) -> tuple[Hashable, Collection[int]]:
        """Something that changes with organizations and their trust, and the organizations that are active.

        Raises `Refused` (directory_unavailable).
        """
        ...


class Retention:
    """`forget` is called with a point that no organization names."""

    def __init__(
        self, keep: CrlDiskStore, registry: CrlRegistry, sources: CrlSources, forget: Callable[[CrlSource], None]
    ) -> None:
        self._disk = keep
        self._registry = registry
        self._sources = sources
        self._forget = forget
        self._sightings = Sightings()
        self._revision: Hashable = object()
        self._trust: Hashable = object()
        self._known: Collection[bytes] = ()
        self._looked: datetime | None = None
        self._tenants: Tenants

    async def authorities(self) -> list[bytes]:
        """Every known CA certificate, in DER. Raises `Refused` (directory_unavailable)."""
        return await self._tenants.authorities()

    async def remember(self, tenants: Tenants, now: datetime) -> None:
        """After a start: whose paths led to what before it."""
        self._tenants = tenants
        self._sightings = Sightings.from_bytes(await asyncio.to_thread(self._disk.remembered), now)

    def organizations_of(self, signer: bytes, url: str) -> Collection[int]:
        """Those that need what a key signed (its SHA-256), or what came from a URL if no path goes through the key."""
        return self._sightings.by(signer.hex()) or self._sightings.by(url)

    def restore(self, copies: Iterable[HeldCrl], now: datetime, *, points: bool) -> None:
        """The sources of copies that were read after a start, with the organizations that named them.

        A point that none named belongs to none, unless it is not known at all which organization named what.
        """
        sightings = self._sightings
        for copy in copies:
            url = copy.origin.url
            # What was accepted within the minute before a sudden end was written, and its signer's paths were not.
            names = [copy.signer.hex()] + ([] if sightings.readable else [url])
            sightings.note(NO_ORGANIZATION, (name for name in names if not sightings.knows(name)), now)
            self._sources.restore(copy.origin, copy.crl, sightings.by(url), points=points and sightings.knows(url))

    def path_seen(self, organization: int, path: list[Certificate], now: datetime) -> None:
        """A path of the organization verified, or would but for CRLs that are missing."""
        signers = self._registry.signers
        named = (self._sources.get(url) for url in urls_of(path))
        self._sightings.note(
            organization, (source.location for source in named if source and organization in source.organizations), now
        )
        keys = [certificate.plain_spki_sha256 for certificate in path[1:]]
        self._sightings.note(organization, (key.hex() for key in keys if key in signers), now)

    def delivered(self, source: CrlSource, now: datetime) -> None:
        """What the source gave is held now: its signer may have been met before, by the paths that led there."""
        for copy in self._registry.given_by(source):
            name = copy.signer.hex()
            for organization, authorities in source.authorities.items():
                lately = self._sightings.lately(source.location, {organization}, now)
                # That it is given again is no sighting by a path.
                if copy.signer in authorities and lately and organization not in self._sightings.by(name):
                    self._sightings.note(organization, [name], now)

    async def look(self, now: datetime) -> None:
        """Let go of what no active organization needs, if it is time to. Raises `Refused`."""
        tenants = self._tenants
        due = self._looked is None or abs(now - self._looked) >= LOOK_EVERY
        revision = tenants.revision
        if revision == self._revision and not due:
            return
        trust, organizations = await tenants.active()
        active = {NO_ORGANIZATION, *organizations}
        if trust != self._trust:
            self._known = await asyncio.to_thread(_keys, await tenants.authorities())
        if trust != self._trust or due:
            gone = [copy for copy in self._registry if not self._needed(copy, active, now)]
            await self._registry.let_go(gone)
            await self._forget_points(self._look_at_points(active, now))
            self._looked = now
            await self.write(now)
        self._revision, self._trust = revision, trust

    def _needed(self, copy: HeldCrl, active: Collection[int], now: datetime) -> bool:
        if copy.origin.named or copy.signer in self._known:
            return True
        return self._sightings.lately(copy.signer.hex(), active, now)

    async def _forget_points(self, points: Collection[CrlSource]) -> None:
        """What they gave passes to those that stay and gave the same: only these are asked after the next start."""
        for point in points:
            self._forget(point)
        heirs = {source.sha256: source.location for source in self._sources if source.sha256}
        for point in points:
            await self._registry.hand_over(point.location, heirs)

    def _look_at_points(self, active: Collection[int], now: datetime) -> list[CrlSource]:
        """Those that no organization names any more."""
        unnamed = []
        for source in self._sources:
            # What a point gave is needed, or would have gone: a certificate presented once a week needs it fresh, too.
            stays = source.kind is not CrlSourceKind.POINT or bool(self._registry.given_by(source))
            for organization in list(source.authorities):
                if organization not in active or not (
                    stays or self._sightings.lately(source.location, {organization}, now)
                ):
                    self._sources.leave(source, organization)
            named = source.kind is not CrlSourceKind.POINT or source.organizations
            if not named and not self._sightings.lately(source.location, {NO_ORGANIZATION}, now):
                unnamed.append(source)
        if not self._registry.reading:
            staying = set(self._sources).difference(unnamed)
            names = {*(source.location for source in staying), *(signer.hex() for signer in self._registry.signers)}
            self._sightings.keep(names, active)
        return unnamed

    async def write(self, now: datetime) -> None:
        """What is to be known after the next start. That it cannot be written costs those days of grace, no more."""
        if self._sightings.changed:
            with contextlib.suppress(DiskStoreFailed):
                await asyncio.to_thread(self._disk.remember, self._sightings.to_bytes(now))


def _keys(authorities: Iterable[bytes]) -> frozenset[bytes]:
    """The SHA-256 of each CA's key; a certificate that cannot be read signed nothing."""
    keys = set()
    for der in authorities:
        with contextlib.suppress(Refused):
            keys.add(Certificate.parse(der).plain_spki_sha256)
    return frozenset(keys)
