"""Reads all active users as kinds of alike ones, so that what ends above them is asked once of each kind."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from authz.directory.end_columns import (
    NOW,
    REQUIRED,
    SECOND,
    SHARES,
    SINCE_LATELY,
    first_end_of_row,
    least,
    plain,
    rows_of,
)
from authz.directory.report import LATELY
from authz.directory.schema import last_seen, organizations, registrations, users
from authz.model import RegistrationKind

AT_ONCE: Final = 4_000
"""Users who are looked at together."""

MAX_KINDS: Final = 10_000
"""Kinds of users that are recognized: further ones are looked at anew."""


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
    for user, key in _compared(rows_of(connection, _KINDS[len(asked) == 1], values), bounds):
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


_LAST = sa.bindparam("last", type_=sa.BigInteger)
_SHARING = sa.select(organizations.c.id).where(SHARES)


def _end_by_last() -> sa.ColumnElement[int]:
    """When a registration ends, if that is by `_LAST`; of most the certificate alone has an end."""
    columns, by_hand = registrations.c, first_end_of_row()
    by_certificate = plain(columns.not_after) + SECOND
    is_certificate = columns.kind == RegistrationKind.CERTIFICATE
    first = sa.case((is_certificate, least(by_hand, by_certificate)), else_=by_hand)
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
    begins = (columns.valid_from > NOW) | (columns.not_before > NOW)
    is_same = seen.sha256 == columns.sha256
    lasts = [column.is_(None) | (column > NOW) for column in (columns.retired_at, columns.valid_until)]
    shares = users.c.organization_id.in_(_SHARING)
    free = sa.not_(REQUIRED) | shares
    certificate = columns.kind == RegistrationKind.CERTIFICATE
    # Where others' registrations count, they cannot matter beside an own one without an end.
    own = [certificate, is_same, columns.valid_until.is_(None), columns.retired_at.is_(None)]
    alone = REQUIRED & shares & seen.sha256.is_not(None) & sa.not_(sa.func.coalesce(sa.and_(*own), sa.false()))
    shown = (seen.user_id == users.c.id) & (seen.last_seen >= SINCE_LATELY) & (is_same | free)
    seen_end = plain(seen.not_after) + SECOND
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
