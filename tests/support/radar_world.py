"""Drawn worlds of CAs, CRLs, certificates and users, in a directory with a service over it.

The directory, its reader, the service and what it notes of certificates seen are the real ones; the clock is set. A
user has what a registration says and what was seen: a registration of a key or a name stands for a certificate that was
renewed. It passes if any of that does, and without any, if none is required.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from authz.admin.audited_store import AuditedStore
from authz.decision import Allow, Decision
from authz.directory import DirectoryReader, History, HistoryLimits
from authz.directory.last_seen import LastSeen
from authz.directory.schema import crl_sources, fetched_crls, last_seen
from authz.errors import StoreError
from authz.identity.header import UserNameHeader
from authz.model import BindingScope, CheckRequest, Enforcement, Organization, RegistrationKind
from authz.pki import Certificate, Crl, CrlStore, ModeOf
from authz.service import Service, ServiceLimits
from authz.view import Listener
from support.certificates import NOW, Authority, Minted, new_key
from support.decision_world import request
from support.directory import new_store

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
LAST = 8
"""Days that are looked ahead."""

# `make test` draws the same worlds each time: what `make fuzz` finds must fail there, and not somewhere else by chance.
WORLDS = max(30, 100 * int(os.environ["FUZZ"])) if "FUZZ" in os.environ else 30
drawn = settings(
    max_examples=WORLDS,
    deadline=None,
    derandomize="FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""How many are drawn: 10,000 by `make fuzz`."""

LISTENER = Listener("test", (UserNameHeader("x-user"),))
ORGANIZATIONS = "acme", "beta"
OWNERS: tuple[tuple[str | None, ...], ...] = ((None,), ("acme",), ORGANIZATIONS)
KEYS = {name: new_key() for name in ("Root A", "Root B", "CA", *(f"leaf {n}" for n in range(4)))}
ISSUERS = st.sampled_from(["CA", "CA", "Root A", "Root B"])
COMMON = 43
"""The number of a certificate that several users may have."""

DAYS = st.sampled_from([2, 3, 4, 5, 6, 60])
LIVES = st.sampled_from([(start, end) for start in (-20, -20, -20, 1, 3, 4) for end in (2, 3, 5, 6, 60) if start < end])


@dataclass(frozen=True)
class Ca:
    """A CA certificate: whose, by whom, from when until when; whether `stored`, by whom, or carried by clients."""

    name: str
    issuer: str
    start: int
    end: int
    stored: bool
    owners: tuple[str | None, ...]


@dataclass(frozen=True)
class Leaf:
    """A certificate of a user, and what is registered of it: a kind, if any, from when until when."""

    number: int
    issuer: str
    start: int
    end: int
    kind: RegistrationKind | None
    valid_from: int | None
    valid_until: int | None
    retired: int | None
    anchor: str
    seen: bool
    sent: bool


@dataclass(frozen=True)
class Person:
    """A user with its certificates."""

    name: str
    organization: str
    enforcement: Enforcement
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True)
class World:
    """All that is drawn; `crls` has for each CA's name where its CRL comes from, and when it ends.

    `scopes` are those of the organizations.
    """

    cas: tuple[Ca, ...]
    crls: dict[str, tuple[str, int]]
    people: tuple[Person, ...]
    scopes: tuple[BindingScope, ...]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """One of them."""
    owners = st.sampled_from(OWNERS)
    roots = [Ca(name, name, *draw(LIVES), stored=True, owners=draw(owners)) for name in ("Root A", "Root B")]
    others = [
        Ca(name, issuer, *draw(LIVES), stored=draw(st.booleans()), owners=draw(owners))
        for name, issuer in (("CA", "Root A"), ("CA", "Root A"), ("CA", "Root B"), ("Root A", "Root B"))
        if draw(st.booleans())
    ]
    sources = st.tuples(st.sampled_from(["fetched", "added", "failing"]), DAYS)
    crls = {name: draw(sources) for name in ("Root A", "Root B", "CA")}
    sorts = st.tuples(st.sampled_from(ORGANIZATIONS), st.sampled_from(Enforcement))
    common = draw(ISSUERS), *draw(LIVES)
    people = tuple(Person(f"u{n}", *draw(sorts), draw(_leaves(n, common))) for n in range(3))
    return World((*roots, *others), crls, people, draw(st.tuples(*[st.sampled_from(BindingScope)] * 2)))


@st.composite
def _leaves(draw: st.DrawFn, person: int, common: tuple[str, int, int]) -> tuple[Leaf, ...]:
    """One or two; the second may be one that several users have."""
    moments = st.none() | st.sampled_from([1, 3, 4, 5])
    return tuple(
        Leaf(
            *(
                (COMMON, *common)
                if number and draw(st.booleans())
                else (10 * person + number, draw(ISSUERS), *draw(LIVES))
            ),
            draw(st.none() | st.sampled_from(RegistrationKind)),
            draw(moments),
            draw(st.none() | st.sampled_from([6, 7, 20])),
            draw(moments),
            draw(st.sampled_from(["Root A", "Root B"])),
            draw(st.booleans()),
            draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 2)))
    )


@cache
def ca_of(ca: Ca) -> Authority:
    """Its certificate."""
    dates = {"not_before": NOW + ca.start * DAY, "not_after": NOW + ca.end * DAY}
    if ca.name == ca.issuer:
        return Authority.root(ca.name, key=KEYS[ca.name], **dates)
    return signer(ca.issuer).intermediate(ca.name, key=KEYS[ca.name], **dates)


@cache
def signer(name: str) -> Authority:
    """A CA of that name and key, whose certificate is in no directory."""
    return Authority.root(name, key=KEYS[name])


@cache
def leaf_of(number: int, issuer: str, start: int, end: int) -> Minted:
    """A certificate of the key and the name of that number."""
    dates = {"not_before": NOW + start * DAY, "not_after": NOW + end * DAY}
    return signer(issuer).leaf(f"leaf {number}", key=KEYS[f"leaf {number % 4}"], **dates)


@cache
def crl_of(name: str, end: int) -> Crl:
    """A CRL of that key that lists no certificate."""
    return Crl(signer(name).crl(this_update=NOW - DAY, next_update=NOW + end * DAY))


class Clock:
    """Stands where it is set."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        """The moment."""
        return self.moment

    def monotonic(self) -> float:
        """No time passes."""
        return 0.0


class Crls:
    """The CRLs as a keeper would have them, of whatever source."""

    def __init__(self, world: World) -> None:
        ends = {name: 60 if source == "fetched" else end for name, (source, end) in world.crls.items()}
        self._store = CrlStore([crl_of(name, end) for name, end in ends.items()])

    def crls(self) -> CrlStore:
        """See `authz.ports.CrlView`."""
        return self._store

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See `authz.ports.CrlView`."""

    def directory_read(self, revision: Hashable) -> None:
        """See `authz.ports.CrlView`."""

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.ports.CrlView`."""


class Scene:
    """A world in a directory, and a service over it."""

    def __init__(self, world: World, folder: str) -> None:
        self.world, self.clock = world, Clock()
        self.url = f"sqlite:///{Path(folder) / 'a.db'}"
        self.carried = [ca_of(ca) for ca in world.cas if not ca.stored]
        self.registered = set[tuple[str, Leaf]]()
        self.store = new_store(self.url)
        self._fill(self.store)

    def _fill(self, store: AuditedStore) -> None:
        for name, scope in zip(ORGANIZATIONS, self.world.scopes, strict=True):
            kinds = tuple(RegistrationKind)
            store.add_organization(Organization(0, name, (host_of(name),), binding_scope=scope, binding_kinds=kinds))
        for ca in self.world.cas:
            stored = [Certificate.parse(ca_of(ca).der)]
            for owner in ca.owners:
                if ca.name == ca.issuer:
                    store.add_anchors(owner, stored)
                elif ca.stored:
                    store.add_intermediates(owner, stored)
        for person in self.world.people:
            store.add_user(person.organization, person.name, person.enforcement)
            for leaf in person.leaves:
                self._register(store, person, leaf)
        self._add_crls(store)

    def _add_crls(self, store: AuditedStore) -> None:
        for name, (source, end) in self.world.crls.items():
            if source != "added":
                self._fetched(store, name, failing=source == "failing", end=end)
            elif name != "CA" or any(ca.name == "CA" and ca.stored for ca in self.world.cas):
                store.add_crl(crl_of(name, end), NOW)
            else:
                # Of a CA that the directory does not know, a CRL can come from its distribution point alone.
                self._fetched(store, name, failing=True, end=end)

    def _register(self, store: AuditedStore, person: Person, leaf: Leaf) -> None:
        named = leaf.kind is RegistrationKind.IDENTITY
        root = next(ca for ca in self.world.cas if ca.name == ca.issuer == leaf.anchor)
        if leaf.kind is None or (named and not {None, person.organization}.intersection(root.owners)):
            return
        dates: dict[str, Any] = {name: _moment(getattr(leaf, name)) for name in ("valid_from", "valid_until")}
        identity = {"identity": f"dns:leaf-{leaf.number}.example.test", "anchor_sha256": ca_of(root).sha256}
        dates |= identity if named else {}
        minted, chain = self.minted(leaf), [Certificate.parse(ca.der) for ca in self.carried]
        # A name is registered once below an anchor: of a certificate that several have, for the first of them.
        with contextlib.suppress(StoreError):
            added = store.register(
                person.organization, person.name, Certificate.parse(minted.der), chain, kind=leaf.kind, now=NOW, **dates
            )
            self.registered.add((person.name, leaf))
            if leaf.retired is not None:
                store.retire(added.registration.id, NOW + leaf.retired * DAY)

    def _fetched(self, store: AuditedStore, name: str, *, failing: bool, end: int) -> None:
        location = f"http://crls.test/{name}"
        row = {"name": name, "location": location, "sha256": b"s" * 32, "issuer": f"CN={name}", "delta": False}
        row |= {"signer": Certificate.parse(signer(name).der).plain_spki_sha256, "entries": 0, "this_update": NOW}
        row |= {"fetched_at": NOW, "next_update": NOW + (end if failing else 1) * DAY}
        source = {"location": location, "kind": "point", "failures": int(failing), "outcome": "", "detail": ""}
        with store.transaction() as connection:
            connection.execute(sa.insert(fetched_crls).values(**row))
            connection.execute(sa.insert(crl_sources).values(**source))

    @staticmethod
    def minted(leaf: Leaf) -> Minted:
        """The certificate."""
        return leaf_of(leaf.number, leaf.issuer, leaf.start, leaf.end)

    async def ask(self, service: Service, person: Person, chain: list[Minted], number: int = 0) -> Decision:
        """What the service answers the user with that, now."""
        headers = request(*chain, headers=((b"x-user", person.name.encode()),)).headers
        return await service.check(CheckRequest(f"{number:032x}", host_of(person.organization), headers), LISTENER)

    async def passes(self, service: Service, person: Person, chain: list[Minted]) -> bool:
        """Whether the service lets the user pass with that, now."""
        return isinstance(await self.ask(service, person, chain), Allow)

    def shown(self) -> Iterator[tuple[Person, list[Minted]]]:
        """Each certificate of each user, as the client sends it."""
        for person in self.world.people:
            for leaf in person.leaves:
                yield person, [self.minted(leaf), *(self.carried if leaf.sent else [])]

    def has(self, person: Person, seen: set[tuple[str, bytes]]) -> Iterator[list[Minted]]:
        """What a user can present now."""
        for leaf in person.leaves:
            minted, at = self.minted(leaf), self.clock.moment
            ends = [_moment(day) for day in (leaf.valid_until, leaf.retired)]
            begun = leaf.valid_from is None or NOW + leaf.valid_from * DAY <= at
            registered = (
                (person.name, leaf) in self.registered and begun and all(end is None or at < end for end in ends)
            )
            sent = self.carried if leaf.sent else []
            if (person.name, minted.sha256) in seen or (registered and leaf.kind is RegistrationKind.CERTIFICATE):
                yield [minted, *sent]
            if registered and leaf.kind is not RegistrationKind.CERTIFICATE:
                yield [leaf_of(leaf.number, leaf.issuer, -1, 90), *self.carried]

    def passes_by_another_s(self, person: Person) -> bool:
        """Whether a certificate registered by name may pass by another user's registration of its key, or of the name.

        `expiry` does not look for those: it would be a certificate that was never seen, of a key that two users have.
        """
        scope = self.world.scopes[ORGANIZATIONS.index(person.organization)]
        unseen = tuple(leaf for leaf in person.leaves if not leaf.seen)
        mine = self._numbers([replace(person, leaves=unseen)], RegistrationKind.IDENTITY)
        others = [
            other for other in self.world.people if other is not person and other.organization == person.organization
        ]
        keys = {number % 4 for number in self._numbers(others, RegistrationKind.KEY)}
        named = self._numbers(others, RegistrationKind.IDENTITY)
        return scope is BindingScope.ORGANIZATION and any(number % 4 in keys or number in named for number in mine)

    def _numbers(self, people: Iterable[Person], kind: RegistrationKind) -> set[int]:
        """Of the certificates that were registered of them so."""
        leaves = ((person, leaf) for person in people for leaf in person.leaves if leaf.kind is kind)
        return {leaf.number for person, leaf in leaves if (person.name, leaf) in self.registered}

    async def show(self) -> None:
        """Have the service see the certificates that users present."""
        async with self.service() as (service, seen_by, _):
            for person in self.world.people:
                for leaf in person.leaves:
                    if leaf.seen:
                        await self.passes(service, person, [self.minted(leaf), *(self.carried if leaf.sent else [])])
            await seen_by.close()

    def seen(self) -> set[tuple[str, bytes]]:
        """The users, and SHA-256 of their certificates, that the directory has as seen."""
        with self.store.reading() as connection:
            query = sa.select(last_seen.c.user_id, last_seen.c.sha256)
            names = {self.store.user(person.organization, person.name).id: person.name for person in self.world.people}
            return {(names[row.user_id], row.sha256) for row in connection.execute(query)}

    async def days(self) -> list[dict[str, bool]]:
        """For each day, who passes."""
        await self.show()
        seen = self.seen()
        days = []
        async with self.service() as (service, _, _):
            for day in range(LAST + 1):
                self.clock.moment = NOW + day * DAY + HOUR
                days.append({person.name: await self._goes_on(service, person, seen) for person in self.world.people})
        return days

    async def _goes_on(self, service: Service, person: Person, seen: set[tuple[str, bytes]]) -> bool:
        if person.enforcement is not Enforcement.REQUIRED and not any(name == person.name for name, _ in seen):
            return await self.passes(service, person, [])
        return any([await self.passes(service, person, chain) for chain in self.has(person, seen)])

    @contextlib.asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[Service, LastSeen, History]]:
        """One that answers, and what it writes once that is closed."""
        reader = DirectoryReader(self.url, Crls(self.world), monotonic=lambda: 0.0, warn=print)
        seen_by = LastSeen(self.url, self.clock, lost=print, warn=print)
        await reader.start()
        history = History(self.url, self.clock, HistoryLimits(), lost=print, warn=print)
        yield Service(reader, self.clock, seen_by, history, limits=ServiceLimits(seconds=30)), seen_by, history
        await history.close()
        await reader.close()


def host_of(organization: str) -> str:
    """By which its requests are known."""
    return f"{organization}.example.test"


def _moment(day: int | None) -> datetime | None:
    return None if day is None else NOW + day * DAY
