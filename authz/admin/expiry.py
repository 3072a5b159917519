"""What ends when, and who stops by it: registrations, certificates presented, the CAs above them, and CRLs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from sqlalchemy import Connection

from authz.admin.ca_lifetimes import (
    Below,
    CaLifetimes,
    CrlEnd,
    by_digest,
    is_readable,
    micros,
    reached,
    read_cas,
    read_name,
    signer_of_crls,
)
from authz.admin.credentials import Credentials, credentials_of, stops_alone
from authz.admin.key_sets import key_ends
from authz.directory.authorities import ANCHORS, INTERMEDIATES, StoredCertificate
from authz.directory.crls import list_crl_sources, list_crls, list_fetched_crls
from authz.directory.end_columns import SECOND
from authz.directory.endings import LeafEnd, OwnerRow, leaf_ends, owners
from authz.directory.holders import Holder, holders
from authz.directory.paths_seen import (
    DIGEST,
    count_users_by_path,
    count_users_of_paths,
    grouped_path,
    paths_in_use,
    stored_chains,
    users_of_paths,
)
from authz.directory.seen_cas import list_seen_cas
from authz.directory.user_kinds import AT_ONCE, AlikeUser, Asked, UserKind, kinds_of_users
from authz.model import BindingScope, Expiring
from authz.pki import Certificate, Crl
from authz.pki.x509.distinguished_name import Name

T = TypeVar("T")

MAX_LIFETIMES: Final = 500
"""Organizations of which is remembered until when their CAs lead to an anchor."""

MAX_CHAINS: Final = 10_000
"""Different chains stored with registrations that are read; the CAs of others are unknown."""


class Ending(NamedTuple):
    """One thing that ends at `at`, None if that is not known.

    `what` names it, `organization` and `user` whose it is, each empty if it is several's. `below` counts the users who
    were seen with it lately, or have it; `stops` those who are refused from then on. `replacement` is what is there
    already to take its place, `anchors` the SHA-256 of those in which paths with it end, where they were asked for.
    """

    at: datetime | None
    kind: Expiring
    what: str
    organization: str
    user: str
    below: int
    stops: int
    replacement: str = ""
    anchors: frozenset[bytes] = frozenset()


def endings(connection: Connection, now: datetime, until: datetime, *, anchors: bool = True) -> Iterator[Ending]:
    """What ends from `now` until then: CAs and CRLs, then by organization what belongs to single users."""
    radar = Radar(connection, now, until)
    yield from radar.shared_endings()
    for key in key_ends(connection):
        if key.at is None or now <= key.at <= until:
            yield Ending(key.at, Expiring.KEY_SET, key.what, key.organization, "", 0, 0)
    yield from radar.user_endings(anchors=anchors)


def stopping(connection: Connection, now: datetime, until: datetime) -> Iterator[Ending]:
    """The users who stop, each with what ends: by a CA or CRL, then by an end of their own."""
    radar = Radar(connection, now, until)
    yield from radar.stopped_from_above()
    yield from (ending for ending in radar.user_endings(anchors=False) if ending.stops)


class _Thing(NamedTuple):
    """A CA or CRL that ends: `since` then it is good no more. `name` is what `CaLifetimes` knows it by."""

    at: datetime
    since: int
    kind: Expiring
    what: str
    owner: str | None
    name: object
    digests: frozenset[bytes]
    replacement: str = ""


class Radar:
    """One state of the directory, seen from `now` until another moment."""

    def __init__(self, connection: Connection, now: datetime, until: datetime) -> None:
        self._connection = connection
        # Through its last second a certificate is good.
        self._now, self._until = now.replace(microsecond=0), until
        self._owners = owners(connection)
        shared = BindingScope.ORGANIZATION
        self._sharing = {owner.id for owner in self._owners.values() if owner.binding_scope == shared}
        self._paths = defaultdict[bytes, list[tuple[bytes, ...]]](list)
        for path in paths_in_use(connection):
            for digest in path:
                self._paths[digest].append(path)
        self._stored = _stored_cas(connection)
        self._brought = by_digest(stored.certificate for _, stored in self._stored)
        self._chains = {digest: self._read_chain(chain) for digest, chain in stored_chains(connection, MAX_CHAINS)}
        for der in list_seen_cas(connection):
            self._brought |= by_digest(read_cas(der, self._brought))
        self._crls = _CrlEnds.read(connection)
        self._lifetimes: dict[int | None, CaLifetimes] = {}
        self._places: dict[object, Below] = {}
        self._of_owner: defaultdict[str | None, list[tuple[Expiring, Certificate]]] = defaultdict(list)
        for kind, stored in self._stored:
            self._of_owner[stored.organization].append((kind, stored.certificate))

    def _read_chain(self, chain: bytes) -> tuple[bytes, ...]:
        cas = read_cas(chain, self._brought)
        self._brought |= by_digest(cas)
        return tuple(by_digest(cas))

    # -- where certificates stand ----------------------------------------------------------------------

    def of_path(self, path: bytes, chain_sha256: bytes | None) -> Below:
        """See `authz.admin.credentials.Places`."""
        key = path, chain_sha256
        if key not in self._places:
            self._places[key] = self._path_below(grouped_path(path), self._chain(chain_sha256))
        return self._places[key]

    def _path_below(self, digests: tuple[bytes, ...], chain: tuple[bytes, ...]) -> Below:
        unknown = [number for number, digest in enumerate(digests) if digest not in self._brought]
        first = unknown[-1] + 1 if unknown else 0
        if first == len(digests):
            return Below(None, None)
        ca = self._brought[digests[first]]
        beside = digests[:first] if unknown else digests + chain
        return Below(ca.subject, ca.subject_key_id, beside, above=bool(unknown))

    def _chain(self, sha256: bytes | None) -> tuple[bytes, ...]:
        return () if sha256 is None else self._chains.get(sha256, ())

    def of_leaf(self, issuer: bytes | None, key_id: bytes | None, chain_sha256: bytes | None) -> Below:
        """See `authz.admin.credentials.Places`."""
        key = issuer, key_id, chain_sha256
        if key not in self._places:
            name = None if issuer is None else read_name(issuer)
            self._places[key] = Below(name, key_id, self._chain(chain_sha256), anywhere=issuer is None)
        return self._places[key]

    def _lifetimes_of(self, owner: OwnerRow) -> CaLifetimes:
        """Organizations without CAs of their own share one. Others come one behind the other, and are done with."""
        own = self._of_owner.get(owner.name, [])
        key = owner.id if own else None
        if key not in self._lifetimes:
            if len(self._lifetimes) > MAX_LIFETIMES:
                self._lifetimes.clear()
            cas = [*own, *self._of_owner[None]]
            anchors = [ca for kind, ca in cas if kind is Expiring.ANCHOR]
            known = [ca for kind, ca in cas if kind is not Expiring.ANCHOR]
            self._lifetimes[key] = CaLifetimes(anchors, known, self._brought, self._crls.ends)
        return self._lifetimes[key]

    def _credentials(self, users: Iterable[int]) -> dict[int, tuple[Holder, Credentials]]:
        known = holders(self._connection, set(users), self._now, self._sharing).items()
        return {user: (holder, self._credentials_of(holder)) for user, holder in known}

    def _credentials_of(self, holder: Holder) -> Credentials:
        owner = self._owners[holder.organization]
        return credentials_of(holder, owner, self._lifetimes_of(owner), self)

    # -- what belongs to single users ------------------------------------------------------------------

    def user_endings(self, *, anchors: bool) -> Iterator[Ending]:
        """By organization, and in it the first to end first."""
        ends = leaf_ends(self._connection, self._owners, self._now, self._until, paths=anchors)
        for some in _batched(ends, AT_ONCE):
            alone = [stops_alone(end, self._owners[end.organization]) for end in some]
            known = self._credentials(end.user for end, stops in zip(some, alone, strict=True) if stops is None)
            for end, stops in zip(some, alone, strict=True):
                if stops is not None:
                    yield self._of_user(end, stops, None)
                elif _is_end(end, known[end.user][1]):
                    yield self._of_user(end, *_end_of(end, known[end.user][1]))

    def _of_user(self, end: LeafEnd, stops: bool, spare: int | bytes | None) -> Ending:  # noqa: FBT001
        digest = "" if end.sha256 is None else f"certificate {end.sha256.hex()}"
        registered = end.registration is not None
        if not registered and end.kind:
            digest += ", by a registration of another user"
        return Ending(
            _moment(end.at),
            Expiring.REGISTRATION if registered else Expiring.PRESENTED,
            f"registration {end.registration}: {end.identity or digest}" if registered else digest,
            self._owners[end.organization].name,
            end.name,
            1,
            int(stops),
            _spare(spare),
            frozenset() if end.path is None else frozenset({end.path[-DIGEST:]}),
        )

    # -- what is above them ----------------------------------------------------------------------------

    def shared_endings(self) -> Iterator[Ending]:
        """CAs, then CRLs, in the order of time; what has no date at last."""
        things = self._things()
        stops = Counter[_Thing]()
        for users in self._stopped(things):
            for kind, count in Counter(user.kind for user in users).items():
                stops.update(dict.fromkeys(kind.found, count))
        lines = [self._line(thing, stops[thing]) for thing in things]
        crls = [line for line in lines if line.kind is Expiring.CRL]
        cas = [line for line in lines if line.kind is not Expiring.CRL]
        yield from sorted([*cas, *self._unknown_cas()], key=_first)
        yield from sorted(crls, key=_first)

    def stopped_from_above(self) -> Iterator[Ending]:
        """The users who stop by the end of a CA or CRL."""
        for users in self._stopped(self._things()):
            for user in users:
                owner = self._owners[user.organization].name
                for thing in user.kind.found:
                    yield Ending(thing.at, thing.kind, thing.what, owner, user.name, 1, 1)

    def _things(self) -> list[_Thing]:
        """Each once: several services may have fetched one CRL."""
        return list(dict.fromkeys((*self._ending_cas(), *self._ending_crls())))

    def _stopped(self, things: Sequence[_Thing]) -> Iterator[list[AlikeUser]]:
        """Some users at a time; what each kind stops by is `found` in it."""
        of_owner: defaultdict[str | None, list[_Thing]] = defaultdict(list)
        for thing in things:
            if thing.name is not None:
                of_owner[thing.owner].append(thing)
        shared = of_owner.pop(None, [])
        concerned = {owner.id: shared + of_owner.get(owner.name, []) for owner in self._owners.values()}
        asked = {owner: self._asked(owner, mine) for owner, mine in concerned.items() if mine}
        below = self._below(things)
        for some in [asked] if shared else [{owner: mine} for owner, mine in asked.items()]:
            for kinds, users in kinds_of_users(self._connection, some, self._now):
                known = self._credentials(kind.user for kind in kinds if self._may_stop(kind, below))
                for kind in kinds:
                    kind.found = []
                    if kind.user in known:
                        holder, held = known[kind.user]
                        mine = concerned[holder.organization]
                        kind.found = [thing for thing in mine if held.stop_by(thing.name, thing.since)]
                yield users

    def _below(self, things: Iterable[_Thing]) -> tuple[set[bytes], set[Name]]:
        """The CAs of anybody to which a path leads down from what ends: their SHA-256, and their names."""
        digests = {digest for thing in things for digest in thing.digests}
        cas = reached([ca for digest, ca in self._brought.items() if digest in digests], list(self._brought.values()))
        return {ca.sha256 for ca in cas}, {ca.subject for ca in cas}

    def _may_stop(self, kind: UserKind, below: tuple[set[bytes], set[Name]]) -> bool:
        """Whether anything that the users have may stand below what ends; if not, they need not be read."""
        digests, names = below
        if any(issuer is None or read_name(issuer) in names for issuer in kind.issuers):
            return True
        return any(
            not digests.isdisjoint(grouped_path(path)) or self.of_path(path, None).issuer in names
            for path in kind.paths
        )

    def _asked(self, owner: int, things: Iterable[_Thing]) -> Asked:
        """Organizations with the same CAs and settings share their kinds of users."""
        row = self._owners[owner]
        alike = owner if self._of_owner.get(row.name) else None, row.binding_scope, row.binding_kinds
        return Asked(alike, {thing.since for thing in things})

    def _line(self, thing: _Thing, stops: int) -> Ending:
        paths = {path for digest in thing.digests for path in self._paths.get(digest, ())}
        below = users_of_paths(self._connection, paths, self._now)
        counted = sum(count for owner, count in below.items() if thing.owner in {None, self._owners[owner].name})
        anchors = frozenset(path[-1] for path in paths)
        if thing.kind is Expiring.ANCHOR:
            anchors |= thing.digests
        return Ending(
            thing.at, thing.kind, thing.what, thing.owner or "", "", counted, stops, thing.replacement, anchors
        )

    def _ending_cas(self) -> Iterator[_Thing]:
        stored = {ca.certificate.sha256 for _, ca in self._stored}
        with_registrations = [
            (Expiring.INTERMEDIATE, StoredCertificate(None, ca))
            for digest, ca in self._brought.items()
            if digest not in stored
        ]
        for kind, known in (*self._stored, *with_registrations):
            ca = known.certificate
            if self._now <= ca.not_after <= self._until:
                successor = self._successor(kind, known)
                yield _Thing(
                    ca.not_after,
                    micros(ca.not_after) + SECOND,
                    kind,
                    f"{ca.subject.text}, certificate {ca.sha256.hex()}",
                    known.organization,
                    ca.sha256,
                    frozenset({ca.sha256}),
                    "" if successor is None else f"certificate {successor.sha256.hex()}",
                )

    def _successor(self, kind: Expiring, ending: StoredCertificate) -> Certificate | None:
        """A certificate of the same CA and key that lasts longer, and counts wherever the ending one does."""
        ca = ending.certificate
        signer = signer_of_crls(ca)
        return next(
            (
                other.certificate
                for other_kind, other in self._stored
                if other_kind is kind
                and other.organization in {None, ending.organization}
                and other.certificate.not_after > ca.not_after
                and other.certificate.subject == ca.subject
                and _signs(other.certificate, signer)
            ),
            None,
        )

    def _unknown_cas(self) -> Iterator[Ending]:
        """Those on paths that no one stored: only clients have their certificates."""
        unknown = sorted(self._paths.keys() - self._brought.keys())
        counts = count_users_by_path(self._connection) if unknown else {}
        for digest in unknown:
            paths = self._paths[digest]
            below = counts[paths[0]] if len(paths) == 1 else count_users_of_paths(self._connection, paths)
            what = f"certificate {digest.hex()}, which only clients have"
            yield Ending(None, Expiring.INTERMEDIATE, what, "", "", below, 0, "", frozenset(path[-1] for path in paths))

    def _ending_crls(self) -> Iterator[_Thing]:
        for crl in self._crls.all:
            if self._now <= crl.at <= self._until:
                signs = [ca for ca in self._brought.values() if _signs(ca, crl.signer)]
                yield _Thing(
                    crl.at,
                    micros(crl.at) + SECOND,
                    Expiring.CRL,
                    crl.what,
                    None,
                    crl.end,
                    frozenset(ca.sha256 for ca in signs),
                    "" if crl.end is not None else "fetched from its distribution point",
                )


class _EndingCrl(NamedTuple):
    """A CRL that does not come by itself; `end` is None if one of the same key does."""

    at: datetime
    signer: bytes
    what: str
    end: CrlEnd | None


@dataclass(frozen=True, slots=True)
class _CrlEnds:
    """CRLs that were added, and those fetched whose source fails: any other comes by itself."""

    all: list[_EndingCrl] = field(default_factory=list)
    ends: dict[bytes, list[CrlEnd]] = field(default_factory=dict)

    @classmethod
    def read(cls, connection: Connection) -> _CrlEnds:
        """Those of the directory."""
        failing = {source.location: source for source in list_crl_sources(connection) if source.failures}
        fetched = list_fetched_crls(connection)
        fresh = {crl.signer for crl in fetched if crl.location not in failing and not crl.delta}
        ends = cls()
        for crl in fetched:
            source = failing.get(crl.location)
            if source is not None and crl.next_update is not None:
                what = f"CRL of {crl.issuer} from {crl.location}: {source.outcome}"
                ends._add(crl.next_update, crl.signer, what, fresh, (not crl.delta, not crl.delta))
        for stored in list_crls(connection):
            if stored.crl.next_update is not None:
                what = f"CRL of {stored.crl.issuer.text}, {stored.crl.sha256.hex()}"
                ends._add(stored.crl.next_update, stored.signer, what, fresh, _about(stored.crl))
        return ends

    def _add(self, at: datetime, signer: bytes, what: str, fresh: set[bytes], about: tuple[bool, bool]) -> None:
        end = None if signer in fresh else CrlEnd(signer, micros(at) + SECOND, *about)
        self.all.append(_EndingCrl(at, signer, what, end))
        if end is not None and any(about):
            self.ends.setdefault(signer, []).append(end)


def _about(crl: Crl) -> tuple[bool, bool]:
    """Whether a CRL is about leaves, and about CAs; a delta is about nothing without its base."""
    if crl.idp is None:
        return not crl.is_delta, not crl.is_delta
    return not (crl.is_delta or crl.idp.only_contains_ca_certs), not (crl.is_delta or crl.idp.only_contains_user_certs)


def _stored_cas(connection: Connection) -> list[tuple[Expiring, StoredCertificate]]:
    anchors = ((Expiring.ANCHOR, stored) for stored in ANCHORS.list(connection))
    intermediates = ((Expiring.INTERMEDIATE, stored) for stored in INTERMEDIATES.list(connection))
    return [(kind, stored) for kind, stored in (*anchors, *intermediates) if is_readable(stored.certificate)]


def _first(ending: Ending) -> tuple[bool, datetime | None, str]:
    """The order of lines: what is not known at last."""
    return ending.at is None, ending.at, ending.what


def _batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(values)
    return iter(lambda: list(islice(rest, size)), [])


def _is_end(end: LeafEnd, credentials: Credentials) -> bool:
    """Whether it ends at all: another registration of the certificate may go on."""
    if end.registration is not None or not end.kind:
        return True
    return credentials.is_end(end.sha256 or b"", end.since)


def _end_of(end: LeafEnd, credentials: Credentials) -> tuple[bool, int | bytes | None]:
    name = end.sha256 if end.registration is None else end.registration
    return credentials.end(b"" if name is None else name, end.since)


def _moment(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _spare(spare: int | bytes | None) -> str:
    if spare is None:
        return ""
    return f"registration {spare}" if isinstance(spare, int) else f"certificate {spare.hex()}, presented lately"


def _signs(ca: Certificate, signer: bytes) -> bool:
    return signer != b"" and signer_of_crls(ca) == signer
