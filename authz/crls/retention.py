"""Whose the distribution points and the CRLs from them are: nothing of an organization outlives it.

A copy stays as long as its signer is a CA of the directory, or was met within a day on a path of an organization that
is active; a point as long as such an organization names it. What the operator named is the operator's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Hashable, Iterable
from datetime import datetime, timedelta
from typing import Final, Protocol

from authz.crls.disk_store import Keep, KeepFailed
from authz.crls.signer_sightings import NO_ORGANIZATION, Met
from authz.crls.source import Source
from authz.crls.sources import Sources, urls_of
from authz.crls.store import Copy, Library
from authz.errors import Refused
from authz.model import CrlSourceKind
from authz.pki import Certificate

LOOK_EVERY: Final = timedelta(minutes=1)
"""How often everything is looked at when no trust has changed; at most as much is not written when we are killed."""


class Tenants(Protocol):
    """The directory, as far as it says who there is: `authz.directory.DirectoryReader`."""

    @property
    def revision(self) -> Hashable:
        """Another one after each change."""
        ...

    async def authorities(self) -> list[bytes]:
        """Every organization's anchors and intermediates, in DER. Raises `Refused` (directory_unavailable)."""
        ...

    async def active(self) -> tuple[Hashable, Collection[int]]:
        """Something that changes with organizations and their trust, and the organizations that are active.

        Raises `Refused` (directory_unavailable).
        """
        ...


class Tenancy:
    """`forget` is called with a point that no organization names."""

    def __init__(self, keep: Keep, library: Library, sources: Sources, forget: Callable[[Source], None]) -> None:
        self._keep = keep
        self._library = library
        self._sources = sources
        self._forget = forget
        self._met = Met()
        self._revision: Hashable = object()
        self._trust: Hashable = object()
        self._known: Collection[bytes] = ()
        self._looked: datetime | None = None

    async def remember(self, now: datetime) -> None:
        """Who met what before this start."""
        self._met = Met.from_bytes(await asyncio.to_thread(self._keep.remembered), now)

    def organizations_of(self, signer: bytes, url: str) -> Collection[int]:
        """Who needs what a key signed (its SHA-256), or what came from a URL if no path is known to go through it."""
        return self._met.by(signer.hex()) or self._met.by(url)

    def restore(self, copies: Iterable[Copy], now: datetime, *, points: bool) -> None:
        """The sources of copies that were read after a start, with the organizations that named them.

        A point that none named is nobody's, unless it is not known at all who named what.
        """
        for one in copies:
            # What was accepted within the minute before a sudden end was written, and its signer's paths were not.
            names = [one.held.signer.hex()] + ([] if self._met.readable else [one.origin.url])
            self._met.note(NO_ORGANIZATION, (name for name in names if not self._met.knows(name)), now)
            named = self._met.by(one.origin.url)
            anybodys = bool(named) or self._met.knows(one.origin.url)
            self._sources.restore(one.origin, one.held.crl, named, points=points and anybodys)

    def met(self, organization: int, path: list[Certificate], now: datetime) -> None:
        """A path of the organization verified, or would but for CRLs that are missing."""
        signers = self._library.signers
        named = (self._sources.get(url) for url in urls_of(path))
        self._met.note(organization, (one.location for one in named if one and organization in one.organizations), now)
        self._met.note(organization, (one.spki_sha256.hex() for one in path[1:] if one.spki_sha256 in signers), now)

    def gave(self, source: Source, now: datetime) -> None:
        """What the source gave is held now: its signer may have been met before, by the paths that led there."""
        for copy in self._given(source):
            name = copy.held.signer.hex()
            for organization, authorities in source.authorities.items():
                lately = self._met.lately(source.location, {organization}, now)
                # That it is given again is no path of anybody's.
                if copy.held.signer in authorities and lately and organization not in self._met.by(name):
                    self._met.note(organization, [name], now)

    def _given(self, source: Source) -> list[Copy]:
        """The copies that came from there, or elsewhere too."""
        last = self._library.kept(source.sha256)
        return self._library.of(source.location) or ([] if last is None else [last])

    async def look(self, tenants: Tenants, now: datetime) -> bool:
        """Let go of what is nobody's, if it is time to; whether any copy went. Raises `Refused`."""
        due = self._looked is None or abs(now - self._looked) >= LOOK_EVERY
        revision = tenants.revision
        if revision == self._revision and not due:
            return False
        trust, found = await tenants.active()
        active = {NO_ORGANIZATION, *found}
        if trust != self._trust:
            self._known = await asyncio.to_thread(_keys, await tenants.authorities())
        if trust != self._trust or due:
            gone = [one for one in self._library if not self._needed(one, active, now)]
            await self._library.let_go(gone)
            await self._forget_points(self._look_at_points(active, now))
            self._looked = now
            await self.write(now)
        else:
            gone = []
        self._revision, self._trust = revision, trust
        return bool(gone)

    def _needed(self, copy: Copy, active: Collection[int], now: datetime) -> bool:
        if copy.origin.named or copy.held.signer in self._known:
            return True
        return self._met.lately(copy.held.signer.hex(), active, now)

    async def _forget_points(self, points: Collection[Source]) -> None:
        """What they gave is the living ones' that gave the same: they are asked after the next start, and no other."""
        for one in points:
            self._forget(one)
        heirs = {one.sha256: one.location for one in self._sources if one.sha256}
        for one in points:
            await self._library.hand_over(one.location, heirs)

    def _look_at_points(self, active: Collection[int], now: datetime) -> list[Source]:
        """Those that no organization names any more."""
        found = []
        for one in self._sources:
            # What a point gave is needed, or would have gone: whoever comes once a week needs it fresh, too.
            stays = one.kind is not CrlSourceKind.POINT or bool(self._given(one))
            for organization in list(one.authorities):
                if organization not in active or not (stays or self._met.lately(one.location, {organization}, now)):
                    self._sources.leave(one, organization)
            named = one.kind is not CrlSourceKind.POINT or one.organizations
            if not named and not self._met.lately(one.location, {NO_ORGANIZATION}, now):
                found.append(one)
        if not self._library.reading:
            stay = set(self._sources).difference(found)
            names = {*(one.location for one in stay), *(one.hex() for one in self._library.signers)}
            self._met.keep(names, active)
        return found

    async def write(self, now: datetime) -> None:
        """What is to be known after the next start. That it cannot be written costs those days of grace, no more."""
        if self._met.changed:
            with contextlib.suppress(KeepFailed):
                await asyncio.to_thread(self._keep.remember, self._met.to_bytes(now))


def _keys(authorities: Iterable[bytes]) -> frozenset[bytes]:
    """The SHA-256 of each CA's key; a certificate that cannot be read signed nothing."""
    found = set()
    for der in authorities:
        with contextlib.suppress(Refused):
            found.add(Certificate.parse(der).spki_sha256)
    return frozenset(found)
