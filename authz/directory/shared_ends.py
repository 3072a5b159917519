"""When what users showed stops counting because registrations of others end: where anybody's registration counts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from authz.directory.end_columns import (
    ALWAYS,
    NOW,
    REQUIRED,
    SECOND,
    SHARES,
    SINCE_LATELY,
    UNTIL,
    first_end_of_row,
    plain,
)
from authz.directory.schema import last_seen, organizations, registrations, users
from authz.model import RegistrationKind


def _run_ends(kind: RegistrationKind, digest: str) -> sa.Subquery:
    """Of certificates or keys, where anybody's registration counts, the ends behind which no other one goes on.

    Those in the period, with two of the users whose registration ends then: if both are one user, no other's does.
    """
    columns, end = registrations.c, first_end_of_row()
    start = sa.func.coalesce(plain(columns.valid_from), sa.literal_column(str(ALWAYS), sa.BigInteger))
    # By the indexes of ends: most organizations have none in the period.
    some = (
        sa.select(columns.organization_id.label("organization"), columns[digest].label("digest"))
        .join(organizations, organizations.c.id == columns.organization_id)
        .where(organizations.c.active, SHARES, columns.kind == kind, column >= NOW, column <= UNTIL)
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
    query = query.where(end == ends.c.at, ends.c.at >= NOW, ends.c.at <= UNTIL)
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
    query = query.where(users.c.active, REQUIRED, (ends.c.one != seen.user_id) | (ends.c.two != seen.user_id))
    query = query.where(seen.last_seen >= SINCE_LATELY, ends.c.at < plain(seen.not_after) + SECOND)
    return query.order_by(organizations.c.name, ends.c.at)


SHARED_DIGESTS = {RegistrationKind.CERTIFICATE: "sha256", RegistrationKind.KEY: "spki_sha256"}
SHARED_ENDS = {kind: _shared_ends(kind, digest) for kind, digest in SHARED_DIGESTS.items()}
