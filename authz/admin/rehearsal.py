"""Whom `required` would refuse: by what observe recorded, what was seen last, and what was never seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from authz.directory.organizations import require_organization
from authz.directory.schema import Moment, decisions, last_seen, users
from authz.model import Enforcement, Outcome


class Rehearsed(StrEnum):
    """What is known of a user."""

    REFUSED = "refused"
    """A request was recorded that `required` refuses."""
    PASSES = "passes"
    """A certificate of the user matched, and no request was recorded that `required` refuses."""
    NOT_COMPARED = "not compared"
    """Seen while the user's enforcement was off: no certificate was compared with a registration."""
    NEVER_SEEN = "never seen"
    """Neither a certificate nor a refusal was recorded: no request, or none with a certificate while off."""


class RehearsedUser(NamedTuple):
    """A user under a change to `required`; `reason`, `times` and `last_refused` are of one reason for a refusal.

    `last_matched` is when a certificate last matched a registration of the user: behind the last refusal, the user has
    mended it.
    """

    user: str
    enforcement: Enforcement
    outcome: Rehearsed
    reason: str = ""
    times: int = 0
    last_refused: datetime | None = None
    last_matched: datetime | None = None


def known_from(connection: sa.Connection, organization: str, since: datetime) -> datetime | None:
    """From when on there are records of an organization, at most since then; None if there are none."""
    owner = require_organization(connection, organization).id
    queries = (
        sa.select(sa.func.min(decisions.c.at, type_=Moment)).where(decisions.c.organization_id == owner),
        sa.select(sa.func.min(last_seen.c.first_seen, type_=Moment)).where(last_seen.c.organization_id == owner),
    )
    begins = [at for at in (connection.execute(query).scalar() for query in queries) if at is not None]
    return max(since, min(begins)) if begins else None


def rehearse(connection: sa.Connection, organization: str, since: datetime) -> Iterator[RehearsedUser]:
    """What `required` would do to each active user who has another enforcement, by name; a row for each reason.

    Raises `StoreError`.
    """
    owner = require_organization(connection, organization).id
    rows = connection.execute(_REHEARSED, {"owner": owner, "since": since})
    for row in rows:
        yield RehearsedUser(
            row.name,
            Enforcement(row.enforcement),
            _outcome(row),
            row.reason or "",
            int(row.times or 0),
            row.last_refused,
            row.last_matched,
        )


def _outcome(row: sa.Row[Any]) -> Rehearsed:
    if row.reason is not None:
        return Rehearsed.REFUSED
    if row.last_matched is not None:
        return Rehearsed.PASSES
    return Rehearsed.NEVER_SEEN if row.last_seen is None else Rehearsed.NOT_COMPARED


_OWNER: sa.BindParameter[int] = sa.bindparam("owner")
_SINCE = sa.bindparam("since", type_=Moment)


def _seen(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    query = sa.select(sa.func.max(last_seen.c.last_seen, type_=Moment)).where(last_seen.c.user_id == users.c.id)
    return query.where(last_seen.c.last_seen >= _SINCE, *conditions).correlate(users).scalar_subquery()


def _rehearsed() -> sa.Select[Any]:
    refused = (
        sa.select(
            decisions.c.account,
            decisions.c.reason,
            sa.func.sum(decisions.c.repeats).label("times"),
            sa.func.max(decisions.c.at, type_=Moment).label("last_refused"),
        )
        .where(decisions.c.organization_id == _OWNER, decisions.c.proven, decisions.c.at >= _SINCE)
        .where(decisions.c.outcome == Outcome.OBSERVED)
        .group_by(decisions.c.account, decisions.c.reason)
        .subquery()
    )
    columns = [users.c.name, users.c.enforcement, refused.c.reason, refused.c.times, refused.c.last_refused]
    seen = [_seen().label("last_seen"), _seen(last_seen.c.matched != "").label("last_matched")]
    query = sa.select(*columns, *seen).outerjoin(refused, refused.c.account == users.c.name)
    query = query.where(users.c.organization_id == _OWNER, users.c.active, users.c.enforcement != Enforcement.REQUIRED)
    return query.order_by(users.c.name, refused.c.reason)


_REHEARSED = _rehearsed()
