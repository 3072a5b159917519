"""Reads what of the directory ends within a period, whose it is, and what else its users have.

Of registrations and of what was presented every look-up is a range in an index of ends, or of one user's rows: what
does not end is not read, no certificate is parsed, and no moment is made an object. Moments are microseconds here, as
the columns have them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from authz.directory.queries import distinct, distinct_values
from authz.directory.report import LATELY
from authz.directory.schema import Moment, last_seen, organizations, registrations, users
from authz.model import BindingScope, Enforcement, RegistrationKind

DIGEST: Final = 32
"""Bytes of a SHA-256."""

NEVER: Final = 1 << 62
"""A moment behind every other."""

ALWAYS: Final = -NEVER

SECOND: Final = 1_000_000
"""A certificate is good through the second of its notAfter, and a registration until its own end."""


AT_ONCE: Final = 4_000
"""Users who are looked at together."""

MAX_KINDS: Final = 10_000
"""Kinds of users that are recognized: further ones are looked at anew."""


class LeafEnd(NamedTuple):
    """The end of a registration, or of a certificate that was presented and has no registration that ends with it.

    At `at` it ends, and from `since` on it does not count. `registration` is its number, None for what was presented;
    `sha256` is None where no certificate is registered, and `kind` is empty where it is one that cannot be read; of
    what was presented it is that of another user's registration that ends. `path` is the one that it was seen with
    lately, `refused_by` why `required` would have refused it then. `counts` says whether a certificate is required of
    the user, or was seen lately, and `others` whether anything else lasts longer.
    """

    organization: int
    at: int
    since: int
    user: int
    name: str
    enforcement: str
    registration: int | None
    kind: str
    identity: str | None
    sha256: bytes | None
    path: bytes | None
    refused_by: str | None
    counts: bool
    others: bool


class RegistrationRow(NamedTuple):
    """What is looked at of a registration."""

    id: int
    user: int
    kind: str
    sha256: bytes | None
    valid_from: int | None
    valid_until: int | None
    retired_at: int | None
    not_before: int | None
    not_after: int | None
    issuer: bytes | None
    authority_key_id: bytes | None
    chain_sha256: bytes | None
    anchor_sha256: bytes | None


class SightingRow(NamedTuple):
    """What is looked at of a certificate that a user presented lately, and whether `with_others` beside it."""

    user: int
    sha256: bytes
    not_after: int
    path: bytes
    matched: str
    refused_by: str
    with_others: bool
    spki_sha256: bytes


class SharedRow(NamedTuple):
    """A period in which some registration of a certificate or key counts, and the others stored with it."""

    valid_from: int | None
    valid_until: int | None
    retired_at: int | None
    chain_sha256: bytes | None


class Holder:
    """An active user with what it has: registrations that have not ended, and certificates seen lately.

    `shared` are the registrations of anybody, ended or not, by the SHA-256 of the certificate or key of a sighting,
    but for those that others cover: where those of all the organization count.
    """

    __slots__ = ("enforcement", "name", "organization", "registrations", "shared", "sightings")

    def __init__(self, organization: int, name: str, enforcement: str) -> None:
        self.organization = organization
        self.name = name
        self.enforcement = enforcement
        self.registrations: list[RegistrationRow] = []
        self.sightings: list[SightingRow] = []
        self.shared: dict[bytes, list[SharedRow]] = {}


class OwnerRow(NamedTuple):
    """An active organization."""

    id: int
    name: str
    binding_scope: str
    binding_kinds: str


def owners(connection: sa.Connection) -> dict[int, OwnerRow]:
    """The active organizations, by name."""
    columns = (organizations.c[name] for name in OwnerRow._fields)
    query = sa.select(*columns).where(organizations.c.active).order_by(organizations.c.name)
    return {row.id: OwnerRow(*row) for row in connection.execute(query)}


def leaf_ends(
    connection: sa.Connection, known: Mapping[int, OwnerRow], now: datetime, until: datetime, *, paths: bool = True
) -> Iterator[LeafEnd]:
    """The ends of what active users have in the organizations `known`: in their order, the first to end first.

    Without `paths` those of registrations are left out where they decide nothing: a look-up less for each.
    """
    order = {owner: number for number, owner in enumerate(known)}
    period = {"now": now, "until": until, "lately": now - LATELY, "paths": paths}
    sharing = (owner for owner in known.values() if owner.binding_scope == BindingScope.ORGANIZATION)
    kinds = {kind for owner in sharing for kind in owner.binding_kinds.split()}
    shared = [query for kind, query in _SHARED_ENDS.items() if kind in kinds]
    streams = [_rows(connection, query, period) for query in (*_REGISTRATIONS, _PRESENTED, *shared)]
    ends = ((LeafEnd._make(row) for row in rows if row[0] in order) for rows in streams)
    return merge(*ends, key=lambda end: (order[end.organization], end.at, end.user))


def _rows(connection: sa.Connection, query: sa.Select[Any], values: dict[str, Any]) -> Iterator[sa.Row[Any]]:
    """The rows as they come, some at a time."""
    for some in connection.execute(query, values).partitions(1_000):
        yield from some


def holders(
    connection: sa.Connection, wanted: Collection[int], now: datetime, sharing: Collection[int] = ()
) -> dict[int, Holder]:
    """Those of the users `wanted` who are active, by their ids; registrations count for all in organizations `sharing`.

    Registrations that thousands of users have made of one certificate or key are read once.
    """
    ids = {"ids": sorted(wanted), "now": now, "lately": now - LATELY}
    known = {row[0]: Holder(*row[1:]) for row in connection.execute(_HOLDERS, ids).all()}
    for row in connection.execute(_HELD, ids).all():
        if row[1] in known:
            known[row[1]].registrations.append(RegistrationRow._make(row))
    for row in connection.execute(_SEEN, ids).all():
        if row[0] in known:
            known[row[0]].sightings.append(SightingRow._make(row))
    for owner in {holder.organization for holder in known.values()}.intersection(sharing):
        _add_shared(connection, owner, [holder for holder in known.values() if holder.organization == owner])
    return known


def _add_shared(connection: sa.Connection, owner: int, some: Collection[Holder]) -> None:
    """To each holder of the organization the longest that is registered of its sightings."""
    read = defaultdict[bytes, list[SharedRow]](list)
    for query, digest in _SHARED:
        digests = sorted({getattr(sighting, digest) for holder in some for sighting in holder.sightings})
        if digests:
            for row in connection.execute(query, {"owner": owner, "digests": digests}).all():
                read[row[0]].append(SharedRow(*row[1:]))
    shared = {digest: longest(periods) for digest, periods in read.items()}
    for holder in some:
        mine = {digest for row in holder.sightings for digest in (row.sha256, row.spki_sha256)}
        holder.shared = {digest: shared[digest] for digest in mine & shared.keys()}


def first_end(period: SharedRow | RegistrationRow) -> int:
    """The first that is given; `NEVER` if none is."""
    return min((end for end in (period.valid_until, period.retired_at) if end is not None), default=NEVER)


def longest(periods: Iterable[SharedRow]) -> list[SharedRow]:
    """Each run of them as one, of what came with the same CAs: of thousands of one certificate few are left."""
    left = list[SharedRow]()
    for period in sorted(periods, key=lambda row: (row.valid_from is not None, row.valid_from or 0, -first_end(row))):
        end, reach = first_end(period), first_end(left[-1]) if left else ALWAYS
        if end <= reach:
            continue
        if left and left[-1].chain_sha256 == period.chain_sha256 and (period.valid_from or ALWAYS) <= reach:
            left[-1] = left[-1]._replace(valid_until=None if end == NEVER else end, retired_at=None)
        else:
            left.append(period)
    return left


class UserKind:
    """Users who are alike: of `user`, the first of them, the others differ in names and dates. `found` is its reader's.

    Every date of theirs that counts is on the same side of each moment of their organization. `issuers` has the issuers
    of what is registered of them, in DER, and None for what was registered without a certificate, `paths` those of what
    they showed.
    """

    __slots__ = ("found", "issuers", "paths", "user")

    def __init__(self, user: int, key: tuple[Any, ...]) -> None:
        self.user = user
        rows = [key[at : at + 3] for at in range(_WHAT, len(key), _WIDTH)]
        self.issuers: set[bytes | None] = {issuer for kind, issuer, _ in rows if kind is not None}
        self.paths: set[bytes] = {path for _, _, path in rows if path is not None}
        self.found: Any = None


class AlikeUser(NamedTuple):
    """An active user."""

    organization: int
    name: str
    kind: UserKind


class Asked(NamedTuple):
    """The moments of an organization; users of others whose `alike` is equal may be alike to its own."""

    alike: Hashable
    moments: Iterable[int]


def kinds_of_users(
    connection: sa.Connection, asked: Mapping[int, Asked], now: datetime
) -> Iterator[tuple[list[UserKind], list[AlikeUser]]]:
    """The active users of the organizations `asked`, some at a time, and the kinds that are new with them.

    By organization, and in it by name. Of one organization its own users are read, or else all.
    """
    bounds = {
        owner: (own.alike, sorted({bound for at in own.moments for bound in (at, at + 1)}))
        for owner, own in asked.items()
    }
    last = max((bound for _, some in bounds.values() for bound in some), default=0)
    values = {"owner": next(iter(asked), None), "now": now, "lately": now - LATELY, "last": last}
    kinds: dict[tuple[object, ...], UserKind] = {}
    new, users_ = list[UserKind](), list[AlikeUser]()
    for user, key in _compared(_rows(connection, _KINDS[len(asked) == 1], values), bounds):
        kind = kinds.get(key)
        if kind is None:
            if len(kinds) >= MAX_KINDS:
                kinds.clear()
            kind = kinds[key] = UserKind(user[0], key)
            new.append(kind)
        users_.append(AlikeUser(user[2], user[1], kind))
        if len(users_) == AT_ONCE:
            yield new, users_
            new, users_ = [], []
    if users_:
        yield new, users_


def _compared(
    rows: Iterable[Any], bounds: Mapping[int, tuple[Hashable, Sequence[int]]]
) -> Iterator[tuple[Any, tuple[object, ...]]]:
    """The first row of each user, with what is compared of all: the number of bounds before each date, and the rest."""
    user, first, key = None, None, ()
    # One user may have thousands: what is compared of them is not copied with each.
    more: list[object] = []
    for row in rows:
        own = bounds.get(row[2])
        if own is None:
            continue
        if row[3] is None and row[4] is None:
            mine = own[0], *row[3:]
        else:
            mine = own[0], *(moment and bisect_right(own[1], moment) for moment in row[3:5]), *row[5:]
        if row[0] == user:
            more += mine
            continue
        if first is not None:
            yield first, (*key, *more)
            more.clear()
        user, first, key = row[0], row, mine
    if first is not None:
        yield first, (*key, *more)


def stored_chains(connection: sa.Connection, most: int) -> Iterator[tuple[bytes, bytes]]:
    """The different CAs that came with registrations: the SHA-256 of all, and their DER, one behind the other."""
    digests, columns = distinct_values(registrations.c.chain_sha256), registrations.c
    chain = sa.select(columns.chain).where(columns.chain_sha256 == digests.c.value).limit(1).scalar_subquery()
    for digest, ders in connection.execute(sa.select(digests.c.value, chain).limit(most)):
        yield digest, bytes(ders)


def _plain(column: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """A moment as its column has it."""
    return sa.type_coerce(column, sa.BigInteger)


_NOW, _UNTIL, _LATELY = (sa.bindparam(name, type_=Moment) for name in ("now", "until", "lately"))
_LAST = sa.bindparam("last", type_=sa.BigInteger)
_PATHS = sa.bindparam("paths", type_=sa.Boolean)
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_SHARING = sa.select(organizations.c.id).where(organizations.c.binding_scope == BindingScope.ORGANIZATION)
_IS_CERTIFICATE = registrations.c.kind == RegistrationKind.CERTIFICATE
_REQUIRED = users.c.enforcement == Enforcement.REQUIRED
_SHARES = organizations.c.binding_scope == BindingScope.ORGANIZATION
_SHOWN = last_seen.alias("shown")
_ENDS = (
    (registrations.c.retired_at, sa.true(), 0),
    (registrations.c.valid_until, sa.true(), 0),
    # A key, and a name, outlives the certificate that it was taken from.
    (registrations.c.not_after, _IS_CERTIFICATE, SECOND),
)


def _of_active(query: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    """With the organization in front, whose index of ends is read in the order of time."""
    owned = query.select_from(organizations).join(table, table.c.organization_id == organizations.c.id)
    return owned.join(users, users.c.id == table.c.user_id).where(organizations.c.active, users.c.active)


def _other_registration(since: sa.ColumnElement[int], own: sa.ColumnElement[int] | None = None) -> sa.Exists:
    """Whether the user has another registration that is not over by then."""
    other = registrations.alias("other")
    lasts = [column.is_(None) | (_plain(column) > since) for column in (other.c.retired_at, other.c.valid_until)]
    lasts.append((other.c.kind != RegistrationKind.CERTIFICATE) | (_plain(other.c.not_after) + SECOND > since))
    query = sa.exists().where(other.c.user_id == users.c.id, *lasts)
    return query if own is None else query.where(other.c.id != own)


def _other_sighting(since: sa.ColumnElement[int]) -> sa.Exists:
    """Whether the user showed a certificate lately that is good then, and is compared with no registration."""
    free = sa.not_(_REQUIRED) | _SHARES
    return _shown(free, _plain(_SHOWN.c.not_after) + SECOND > since)


def _shown(*conditions: sa.ColumnElement[bool]) -> sa.Exists:
    """Whether the user showed such a certificate lately."""
    return sa.exists().where(_SHOWN.c.user_id == users.c.id, *conditions, _SHOWN.c.last_seen >= _LATELY)


def _ending_registrations(number: int) -> sa.Select[Any]:
    """The registrations whose first end is that one."""
    end, where, after = _ENDS[number]
    before = [column.is_(None) | sa.not_(which) | (column > end) for column, which, _ in _ENDS[:number]]
    behind = [column.is_(None) | sa.not_(which) | (column >= end) for column, which, _ in _ENDS[number + 1 :]]
    columns, since = registrations.c, _plain(end) + after
    seen = last_seen.c
    shown = (seen.user_id == columns.user_id) & (seen.sha256 == columns.sha256) & (seen.last_seen >= _LATELY)
    query = sa.select(
        columns.organization_id,
        _plain(end),
        since,
        columns.user_id,
        users.c.name,
        users.c.enforcement,
        columns.id,
        sa.case((_IS_CERTIFICATE & columns.not_after.is_(None), ""), else_=columns.kind),
        # Of certificates the index has all that is asked for: their rows are not read.
        sa.null() if where is _IS_CERTIFICATE else columns.identity,
        columns.sha256,
        seen.path,
        seen.refused_by,
        # A case is left at the first that holds, without another look-up.
        sa.case((_REQUIRED | seen.path.is_not(None), sa.true()), else_=_shown()),
        _other_registration(since, columns.id) | _other_sighting(since),
    )
    query = _of_active(query, registrations).outerjoin(last_seen, shown & (_PATHS | sa.not_(_REQUIRED)))
    # Of the others an index has no user.
    users_too = [columns.user_id] if where is _IS_CERTIFICATE else []
    query = query.where(end >= _NOW, end <= _UNTIL, where, *before, *behind)
    return query.order_by(organizations.c.name, end, *users_too)


_REGISTRATIONS = [_ending_registrations(number) for number in range(len(_ENDS))]


def _presented() -> sa.Select[Any]:
    seen, other = last_seen.c, registrations.c
    # One that goes at that very moment ends a second before its certificate does.
    lasts = [column.is_(None) | (column > seen.not_after) for column in (other.valid_until, other.retired_at)]
    names = "organization_id", "not_after", "user_id", "sha256"
    own = [other[name] == seen[name] for name in names]
    registered = sa.exists().where(*own, _IS_CERTIFICATE, *lasts).correlate(last_seen)
    since = _plain(seen.not_after) + SECOND
    query = sa.select(
        seen.organization_id,
        _plain(seen.not_after),
        since,
        seen.user_id,
        users.c.name,
        users.c.enforcement,
        sa.null(),
        sa.literal(""),
        sa.null(),
        seen.sha256,
        seen.path,
        seen.refused_by,
        sa.true(),
        _other_registration(since) | _other_sighting(since),
    )
    query = _of_active(query, last_seen).where(seen.not_after >= _NOW, seen.not_after <= _UNTIL)
    query = query.where(seen.last_seen >= _LATELY, sa.not_(registered))
    return query.order_by(organizations.c.name, seen.not_after)


_PRESENTED = _presented()


def _least(first: sa.ColumnElement[int], second: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.case((second < first, second), else_=first)


def _first_end() -> sa.ColumnElement[int]:
    """The first that is given of a registration's ends; `NEVER` if none is."""
    never = sa.literal_column(str(NEVER), sa.BigInteger)
    columns = registrations.c
    return _least(*(sa.func.coalesce(_plain(column), never) for column in (columns.retired_at, columns.valid_until)))


def _run_ends(kind: RegistrationKind, digest: str) -> sa.Subquery:
    """Of certificates or keys, where anybody's registration counts, the ends behind which no other one goes on.

    Those in the period, with two of the users whose registration ends then: if both are one user, no other's does.
    """
    columns, end = registrations.c, _first_end()
    start = sa.func.coalesce(_plain(columns.valid_from), sa.literal_column(str(ALWAYS), sa.BigInteger))
    # By the indexes of ends: most organizations have none in the period.
    some = (
        sa.select(columns.organization_id.label("organization"), columns[digest].label("digest"))
        .join(organizations, organizations.c.id == columns.organization_id)
        .where(organizations.c.active, _SHARES, columns.kind == kind, column >= _NOW, column <= _UNTIL)
        for column in (columns.retired_at, columns.valid_until)
    )
    ending = sa.union(*some).subquery("ending")
    # In the order in which they begin, each ends a run if the next one begins behind all ends so far.
    ordered: dict[str, Any] = {"partition_by": list(ending.c), "order_by": start}
    reach = sa.func.max(end).over(**ordered, rows=(None, 0)).label("at")
    runs = sa.select(*ending.c, reach, sa.func.lead(start).over(**ordered).label("following"))
    run = runs.where(_is_of(registrations, ending, digest), columns.kind == kind, start < end).subquery("run")
    is_last = run.c.following.is_(None) | (run.c.following > run.c.at)
    ends = sa.select(run.c.organization, run.c.digest, run.c.at).where(is_last).subquery("ends")
    users_ = (function(columns.user_id).label(name) for function, name in ((sa.func.min, "one"), (sa.func.max, "two")))
    query = sa.select(*ends.c, *users_).where(_is_of(registrations, ends, digest), columns.kind == kind)
    query = query.where(end == ends.c.at, ends.c.at >= _NOW, ends.c.at <= _UNTIL)
    return query.group_by(*ends.c).subquery("run_ends")


def _is_of(table: sa.Table, ends: sa.Subquery, digest: str) -> sa.ColumnElement[bool]:
    """Whether a row has the certificate or key, which is to be looked up by that: of an organization are too many."""
    owner: sa.ColumnElement[int] = table.c.organization_id
    if table is not registrations or digest == "sha256":
        owner = owner + 0  # so that no index of organizations is used
    return (table.c[digest] == ends.c.digest) & (owner == ends.c.organization)


def _shared_ends(kind: RegistrationKind, digest: str) -> sa.Select[Any]:
    """The ends of what users showed, or of its key, behind which no registration goes on, if other users' end then.

    Of thousands of registrations of one certificate they are found before anybody who showed it is looked for.
    """
    seen, ends = last_seen.c, _run_ends(kind, digest)
    query: sa.Select[Any] = sa.select(
        seen.organization_id,
        ends.c.at,
        ends.c.at,
        seen.user_id,
        users.c.name,
        users.c.enforcement,
        sa.null(),
        sa.literal(kind.value),
        sa.null(),
        seen.sha256,
        seen.path,
        seen.refused_by,
        sa.true(),
        sa.true(),
    )
    query = query.select_from(ends).join(last_seen, _is_of(last_seen, ends, digest))
    query = query.join(users, users.c.id == seen.user_id).join(
        organizations, organizations.c.id == seen.organization_id
    )
    query = query.where(users.c.active, _REQUIRED, (ends.c.one != seen.user_id) | (ends.c.two != seen.user_id))
    query = query.where(seen.last_seen >= _LATELY, ends.c.at < _plain(seen.not_after) + SECOND)
    return query.order_by(organizations.c.name, ends.c.at)


_SHARED_DIGESTS = {RegistrationKind.CERTIFICATE: "sha256", RegistrationKind.KEY: "spki_sha256"}
_SHARED_ENDS = {kind: _shared_ends(kind, digest) for kind, digest in _SHARED_DIGESTS.items()}
_DIGESTS: sa.BindParameter[Any] = sa.bindparam("digests", expanding=True)
_SHARED = [
    (
        sa.select(
            registrations.c[digest],
            *(_plain(registrations.c[name]) for name in ("valid_from", "valid_until", "retired_at")),
            registrations.c.chain_sha256,
        )
        .where(registrations.c.organization_id == sa.bindparam("owner"), registrations.c.kind == kind)
        .where(registrations.c[digest].in_(_DIGESTS))
        .distinct(),
        digest,
    )
    for kind, digest in _SHARED_DIGESTS.items()
]
_HOLDERS = sa.select(users.c.id, users.c.organization_id, users.c.name, users.c.enforcement).where(
    users.c.id.in_(_IDS), users.c.active
)
_OF_REGISTRATION = dict(zip(RegistrationRow._fields, RegistrationRow._fields, strict=True)) | {"user": "user_id"}
_MOMENTS = {"valid_from", "valid_until", "retired_at", "not_before", "not_after"}
_HELD = (
    sa.select(
        *(
            _plain(registrations.c[column]) if column in _MOMENTS else registrations.c[column]
            for column in _OF_REGISTRATION.values()
        ),
    )
    .where(registrations.c.user_id.in_(_IDS))
    .where(
        *(column.is_(None) | (column > _NOW) for column in (registrations.c.retired_at, registrations.c.valid_until))
    )
    .order_by(registrations.c.id)
)
_SEEN = sa.select(
    last_seen.c.user_id,
    last_seen.c.sha256,
    _plain(last_seen.c.not_after),
    last_seen.c.path,
    last_seen.c.matched,
    last_seen.c.refused_by,
    last_seen.c.with_others,
    last_seen.c.spki_sha256,
).where(last_seen.c.user_id.in_(_IDS), last_seen.c.last_seen >= _LATELY)


def _end_by_last() -> sa.ColumnElement[int]:
    """When a registration ends, if that is by `_LAST`; of most the certificate alone has an end."""
    columns, by_hand = registrations.c, _first_end()
    by_certificate = _plain(columns.not_after) + SECOND
    is_certificate = columns.kind == RegistrationKind.CERTIFICATE
    first = sa.case((is_certificate, _least(by_hand, by_certificate)), else_=by_hand)
    return sa.case(
        (
            columns.retired_at.is_(None) & columns.valid_until.is_(None),
            sa.case((is_certificate & (by_certificate <= _LAST), by_certificate)),
        ),
        (first <= _LAST, first),
    )


def _kinds(*owned: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Each registration of each user with each certificate seen that may matter beside it: see `kinds_of_users`.

    Outer joins alone, so that rows come in the order of the users' index, and need not be sorted.
    """
    columns, seen = registrations.c, last_seen.c
    begins = (columns.valid_from > _NOW) | (columns.not_before > _NOW)
    is_same = seen.sha256 == columns.sha256
    lasts = [column.is_(None) | (column > _NOW) for column in (columns.retired_at, columns.valid_until)]
    shares = users.c.organization_id.in_(_SHARING)
    free = sa.not_(_REQUIRED) | shares
    certificate = columns.kind == RegistrationKind.CERTIFICATE
    # Where others' registrations count, they cannot matter beside an own one without an end.
    own = [certificate, is_same, columns.valid_until.is_(None), columns.retired_at.is_(None)]
    alone = _REQUIRED & shares & seen.sha256.is_not(None) & sa.not_(sa.func.coalesce(sa.and_(*own), sa.false()))
    shown = (seen.user_id == users.c.id) & (seen.last_seen >= _LATELY) & (is_same | free)
    seen_end = _plain(seen.not_after) + SECOND
    alike = (
        *(columns.kind, columns.issuer, seen.path),
        *(users.c.enforcement, columns.authority_key_id, columns.chain_sha256, columns.anchor_sha256),
        *(seen.with_others, is_same, seen.refused_by),
        # What is yet to begin is rare, and alike to nothing.
        sa.case((begins, columns.id)),
        sa.case((alone, users.c.id)),
    )
    query = sa.select(
        *(users.c.id, users.c.name, users.c.organization_id),
        *(_end_by_last(), sa.case((seen_end <= _LAST, seen_end))),
        # What is only compared need not become an object of Python's.
        *(sa.type_coerce(column, sa.types.NullType()) for column in alike),
    )
    has = (columns.user_id == users.c.id) & sa.and_(*lasts)
    query = query.select_from(users.outerjoin(registrations, has).outerjoin(last_seen, shown))
    return query.where(users.c.active, *owned).order_by(users.c.organization_id, users.c.name, columns.id)


_KINDS = _kinds(), _kinds(users.c.organization_id == sa.bindparam("owner"))
_WHAT: Final = 3
"""Of what is compared of a row, where the kind, issuer and path are: behind `Asked.alike` and two dates."""

_WIDTH: Final = len(_KINDS[0].selected_columns) - 2
"""What is compared of a row: all but the user, with `Asked.alike`."""


def grouped_path(path: bytes) -> tuple[bytes, ...]:
    """The SHA-256 of each CA of a path, from the leaf's issuer to the anchor."""
    return tuple(path[at : at + DIGEST] for at in range(0, len(path), DIGEST))


def paths_in_use(connection: sa.Connection) -> list[tuple[bytes, ...]]:
    """The different paths that were seen: the SHA-256 of each CA, from the leaf's issuer to the anchor."""
    return list(map(grouped_path, distinct(connection, last_seen.c.path)))


def count_users_by_path(connection: sa.Connection) -> dict[tuple[bytes, ...], int]:
    """The users who were ever seen with each path, by one pass over an index."""
    query = sa.select(last_seen.c.path, sa.func.count(last_seen.c.user_id.distinct())).group_by(last_seen.c.path)
    return {grouped_path(row[0]): row[1] for row in connection.execute(query)}


def count_users_of_paths(connection: sa.Connection, paths: Collection[Sequence[bytes]]) -> int:
    """The users who were ever seen with one of the paths: an index alone is read."""
    query = sa.select(sa.func.count(last_seen.c.user_id.distinct()))
    counted = query.where(last_seen.c.path.in_([b"".join(path) for path in paths]))
    return connection.execute(counted).scalar_one()


def users_of_paths(connection: sa.Connection, paths: Collection[Sequence[bytes]], now: datetime) -> dict[int, int]:
    """How many users of each active organization were seen lately with one of the paths."""
    wanted = [b"".join(path) for path in paths]
    if not wanted:
        return {}
    below = defaultdict[int, int](int)
    for owner, count in connection.execute(_PATH_USERS, {"paths": wanted, "lately": now - LATELY}):
        below[owner] = count
    return below


def _path_users() -> sa.Select[Any]:
    paths: sa.BindParameter[Any] = sa.bindparam("paths", expanding=True)
    query = sa.select(last_seen.c.organization_id, sa.func.count(last_seen.c.user_id.distinct()))
    query = query.select_from(last_seen).join(users, users.c.id == last_seen.c.user_id)
    query = query.join(organizations, organizations.c.id == last_seen.c.organization_id)
    query = query.where(last_seen.c.path.in_(paths), last_seen.c.last_seen >= _LATELY)
    return query.where(users.c.active, organizations.c.active).group_by(last_seen.c.organization_id)


_PATH_USERS = _path_users()
