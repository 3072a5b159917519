"""Reads what of the directory ends within a period, whose it is, and what else its users have.

Of registrations and of what was presented every look-up is a range in an index of ends, or of one user's rows: what
does not end is not read, no certificate is parsed, and no moment is made an object. Moments are microseconds here, as
the columns have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from heapq import merge
from typing import Any, NamedTuple

import sqlalchemy as sa

from authz.directory.end_columns import (
    IS_CERTIFICATE,
    NOW,
    REQUIRED,
    SECOND,
    SHARES,
    SINCE_LATELY,
    UNTIL,
    plain,
    rows_of,
)
from authz.directory.report import LATELY
from authz.directory.schema import last_seen, organizations, registrations, users
from authz.directory.shared_ends import SHARED_ENDS
from authz.model import BindingScope, RegistrationKind


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
    shared = [query for kind, query in SHARED_ENDS.items() if kind in kinds]
    streams = [rows_of(connection, query, period) for query in (*_REGISTRATIONS, _PRESENTED, *shared)]
    ends = ((LeafEnd._make(row) for row in rows if row[0] in order) for rows in streams)
    return merge(*ends, key=lambda end: (order[end.organization], end.at, end.user))


_PATHS = sa.bindparam("paths", type_=sa.Boolean)
_SHOWN = last_seen.alias("shown")
_ENDS = (
    (registrations.c.retired_at, sa.true(), 0),
    (registrations.c.valid_until, sa.true(), 0),
    # A key, and a name, outlives the certificate that it was taken from.
    (registrations.c.not_after, IS_CERTIFICATE, SECOND),
)


def _of_active(query: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    """With the organization in front, whose index of ends is read in the order of time."""
    owned = query.select_from(organizations).join(table, table.c.organization_id == organizations.c.id)
    return owned.join(users, users.c.id == table.c.user_id).where(organizations.c.active, users.c.active)


def _other_registration(since: sa.ColumnElement[int], own: sa.ColumnElement[int] | None = None) -> sa.Exists:
    """Whether the user has another registration that is not over by then."""
    other = registrations.alias("other")
    lasts = [column.is_(None) | (plain(column) > since) for column in (other.c.retired_at, other.c.valid_until)]
    lasts.append((other.c.kind != RegistrationKind.CERTIFICATE) | (plain(other.c.not_after) + SECOND > since))
    query = sa.exists().where(other.c.user_id == users.c.id, *lasts)
    return query if own is None else query.where(other.c.id != own)


def _other_sighting(since: sa.ColumnElement[int]) -> sa.Exists:
    """Whether the user showed a certificate lately that is good then, and is compared with no registration."""
    free = sa.not_(REQUIRED) | SHARES
    return _shown(free, plain(_SHOWN.c.not_after) + SECOND > since)


def _shown(*conditions: sa.ColumnElement[bool]) -> sa.Exists:
    """Whether the user showed such a certificate lately."""
    return sa.exists().where(_SHOWN.c.user_id == users.c.id, *conditions, _SHOWN.c.last_seen >= SINCE_LATELY)


def _ending_registrations(number: int) -> sa.Select[Any]:
    """The registrations whose first end is that one."""
    end, where, after = _ENDS[number]
    before = [column.is_(None) | sa.not_(which) | (column > end) for column, which, _ in _ENDS[:number]]
    behind = [column.is_(None) | sa.not_(which) | (column >= end) for column, which, _ in _ENDS[number + 1 :]]
    columns, since = registrations.c, plain(end) + after
    seen = last_seen.c
    shown = (seen.user_id == columns.user_id) & (seen.sha256 == columns.sha256) & (seen.last_seen >= SINCE_LATELY)
    query = sa.select(
        columns.organization_id,
        plain(end),
        since,
        columns.user_id,
        users.c.name,
        users.c.enforcement,
        columns.id,
        sa.case((IS_CERTIFICATE & columns.not_after.is_(None), ""), else_=columns.kind),
        # Of certificates the index has all that is asked for: their rows are not read.
        sa.null() if where is IS_CERTIFICATE else columns.identity,
        columns.sha256,
        seen.path,
        seen.refused_by,
        # A case is left at the first that holds, without another look-up.
        sa.case((REQUIRED | seen.path.is_not(None), sa.true()), else_=_shown()),
        _other_registration(since, columns.id) | _other_sighting(since),
    )
    query = _of_active(query, registrations).outerjoin(last_seen, shown & (_PATHS | sa.not_(REQUIRED)))
    # Of the others an index has no user.
    users_too = [columns.user_id] if where is IS_CERTIFICATE else []
    query = query.where(end >= NOW, end <= UNTIL, where, *before, *behind)
    return query.order_by(organizations.c.name, end, *users_too)


_REGISTRATIONS = [_ending_registrations(number) for number in range(len(_ENDS))]


def _presented() -> sa.Select[Any]:
    seen, other = last_seen.c, registrations.c
    # One that goes at that very moment ends a second before its certificate does.
    lasts = [column.is_(None) | (column > seen.not_after) for column in (other.valid_until, other.retired_at)]
    names = "organization_id", "not_after", "user_id", "sha256"
    own = [other[name] == seen[name] for name in names]
    registered = sa.exists().where(*own, IS_CERTIFICATE, *lasts).correlate(last_seen)
    since = plain(seen.not_after) + SECOND
    query = sa.select(
        seen.organization_id,
        plain(seen.not_after),
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
    query = _of_active(query, last_seen).where(seen.not_after >= NOW, seen.not_after <= UNTIL)
    query = query.where(seen.last_seen >= SINCE_LATELY, sa.not_(registered))
    return query.order_by(organizations.c.name, seen.not_after)


_PRESENTED = _presented()
