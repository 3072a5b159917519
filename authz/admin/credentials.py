"""What a user can pass with, and until when: registrations, and certificates seen lately."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from authz.admin.ca_lifetimes import NOTHING, Below, CaLifetimes
from authz.directory.end_columns import ALWAYS, NEVER, SECOND
from authz.directory.endings import LeafEnd, OwnerRow
from authz.directory.holders import Holder, RegistrationRow, SharedRow, SightingRow, first_end
from authz.directory.paths_seen import DIGEST
from authz.model import BindingScope, Enforcement, RegistrationKind


class Credential(NamedTuple):
    """A registration by its number, or a certificate seen lately by its SHA-256: good from `start` until `end`.

    That is by its own dates; `below` is where it stands.
    """

    name: int | bytes
    start: int
    end: int
    below: Below


class Credentials(NamedTuple):
    """All of one user; without any that `counts`, the user passes whatever ends."""

    counts: bool
    all: list[Credential]
    lifetimes: CaLifetimes

    def end(self, name: int | bytes, since: int) -> tuple[bool, int | bytes | None]:
        """Whether the user stops as what has that name ends, and with what else the user passes from then on."""
        spare = self._spare(since)
        ends = [mine.end for mine in self.all if mine.name == name]
        # A certificate seen may have ended before, by a registration of another user.
        ended = since in ends if isinstance(name, bytes) else min(ends, default=NEVER) <= since
        return self.counts and ended and spare is None, spare

    def is_end(self, name: bytes, since: int) -> bool:
        """Whether a certificate seen counts until then, and by nothing else from then on."""
        lasts = name in {mine.name for mine in self._lasting(since)}
        return not lasts and any(mine.name == name and mine.end == since for mine in self.all)

    def stop_by(self, ended: object, since: int) -> bool:
        """Whether the user stops by the end of a CA or CRL."""
        if not self.counts:
            return False
        needs, stops = self.lifetimes.needs, self.lifetimes.stops
        here = [mine.below for mine in self.all if mine.start < since < mine.end]
        if self._passes(since - 1):
            return any(stops(below, since, ended) for below in here) and not self._good(since)
        live = [below for below in here if self.lifetimes.live(below, since, NOTHING)]
        return bool(live) and all(needs(below, since, ended) for below in live)

    def _spare(self, at: int) -> int | bytes | None:
        """The last registration made, or what lasts longest of the seen.

        Of a user who has stopped before, by a CA or a CRL, whatever lasts itself: what would be renewed with that hides
        no other end.
        """
        lasting = self._lasting(at)
        good = self._good(at) if lasting and self._passes(at - 1) else lasting
        registered = [credential.name for credential in good if isinstance(credential.name, int)]
        if registered:
            return max(registered)
        return max(good, key=lambda credential: credential.end).name if good else None

    def _passes(self, at: int) -> bool:
        return bool(self._good(at))

    def _good(self, at: int) -> list[Credential]:
        return [credential for credential in self._lasting(at) if self.lifetimes.live(credential.below, at)]

    def _lasting(self, at: int) -> list[Credential]:
        return [credential for credential in self.all if credential.start <= at < credential.end]


class Places(Protocol):
    """Where certificates stand."""

    def of_path(self, path: bytes, chain_sha256: bytes | None) -> Below:
        """That of one that was seen with a path (the SHA-256 of each CA), and is registered with a chain."""
        ...

    def of_leaf(self, issuer: bytes | None, key_id: bytes | None, chain_sha256: bytes | None) -> Below:
        """That of one whose path was not seen."""
        ...


def credentials_of(holder: Holder, owner: OwnerRow, lifetimes: CaLifetimes, places: Places) -> Credentials:
    """Those of one user."""
    required = holder.enforcement == Enforcement.REQUIRED
    seen = {sighting.sha256: sighting for sighting in holder.sightings}
    mine = [
        credential
        for registration in holder.registrations
        if _is_allowed(registration.kind, owner, required=required)
        for credential in _registered(registration, seen, places)
    ]
    if not required:
        # Whatever the anchor: that is compared by the binding alone.
        mine = [credential._replace(below=credential.below._replace(anchor=None)) for credential in mine]
    for sighting in holder.sightings:
        if not required:
            periods = [SharedRow(None, None, None, _chain(holder, sighting))]
        elif owner.binding_scope == BindingScope.ORGANIZATION:
            periods = _shared(holder, sighting, owner)
        else:
            continue
        mine += (_seen(sighting, period, places) for period in periods)
    return Credentials(required or bool(seen), mine, lifetimes)


def _seen(sighting: SightingRow, period: SharedRow, places: Places) -> Credential:
    """The credential that a certificate seen is in a period of its registration."""
    start = ALWAYS if period.valid_from is None else period.valid_from
    end = min(sighting.not_after + SECOND, first_end(period))
    return Credential(sighting.sha256, start, end, places.of_path(sighting.path, period.chain_sha256))


def _shared(holder: Holder, sighting: SightingRow, owner: OwnerRow) -> list[SharedRow]:
    """When a certificate counts where anybody's registration does: of itself, or of its key if it has none.

    Its names are not known here: one that matched by the name of another user goes on.
    """
    kinds = owner.binding_kinds.split()
    own = holder.shared.get(sighting.sha256, [])
    if own and RegistrationKind.CERTIFICATE in kinds:
        return own
    if not own and RegistrationKind.KEY in kinds and sighting.spki_sha256 in holder.shared:
        chain = _chain(holder, sighting)
        return [period._replace(chain_sha256=chain) for period in holder.shared[sighting.spki_sha256]]
    named = {row.anchor_sha256 for row in holder.registrations if row.kind == RegistrationKind.IDENTITY}
    is_others = sighting.matched == RegistrationKind.IDENTITY and sighting.path[-DIGEST:] not in named
    return [SharedRow(None, None, None, _chain(holder, sighting))] if is_others and not sighting.refused_by else []


def _chain(holder: Holder, sighting: SightingRow) -> bytes | None:
    """The CAs that the service may have besides those stored: registered with the leaf, or sent by the client.

    With a key or a name the service looks for none: they stand for what the client sends, if it sends any.
    """
    chain = None
    for registration in holder.registrations:
        certificate = registration.kind == RegistrationKind.CERTIFICATE
        if registration.sha256 == sighting.sha256 and (certificate or sighting.with_others):
            chain = registration.chain_sha256
    return chain


def stops_alone(end: LeafEnd, owner: OwnerRow) -> bool | None:
    """Whether a user stops by an end behind which nothing lasts; None if what else the user has must be looked at."""
    required = end.enforcement == Enforcement.REQUIRED
    if end.others or (required and owner.binding_scope == BindingScope.ORGANIZATION):
        return None
    if end.registration is None:
        return not required
    return bool(end.counts) and _is_allowed(end.kind, owner, required=required)


def _is_allowed(kind: str, owner: OwnerRow, *, required: bool) -> bool:
    """Whether registrations of that kind count."""
    return kind in owner.binding_kinds.split() or (kind == RegistrationKind.CERTIFICATE and not required)


def _registered(registration: RegistrationRow, seen: dict[bytes, SightingRow], places: Places) -> Iterator[Credential]:
    """The credential that a registration is; none of a certificate that cannot be read."""
    start = ALWAYS if registration.valid_from is None else registration.valid_from
    end = first_end(registration)
    sighting = seen.get(registration.sha256 or b"")
    if registration.kind == RegistrationKind.CERTIFICATE:
        if registration.not_after is None:
            return
        end = min(end, registration.not_after + SECOND)
        if sighting is None:
            start = max(start, ALWAYS if registration.not_before is None else registration.not_before)
    yield Credential(registration.id, start, end, _below(registration, sighting, places))


def _below(registration: RegistrationRow, sighting: SightingRow | None, places: Places) -> Below:
    if sighting is not None:
        below = places.of_path(sighting.path, registration.chain_sha256)
    else:
        below = places.of_leaf(registration.issuer, registration.authority_key_id, registration.chain_sha256)
    return below if registration.anchor_sha256 is None else below._replace(anchor=registration.anchor_sha256)
