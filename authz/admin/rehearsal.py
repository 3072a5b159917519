"""Whom `required` would refuse: by what observe recorded, what was seen last, and what was never seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from authz.admin.dependents import still_registered
from authz.directory.organizations import get_organization, require_organization
from authz.directory.schema import Moment, decisions, last_seen, users
from authz.model import Enforcement, Organization, Outcome
from authz.reasons import Gate, Reason


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
    ENDED = "ended"
    """A certificate of the user matched, and no registration that counts now does: it is refused the next time."""
    REFUSED_ALREADY = "refused already"
    """Nothing but refusals was recorded that no enforcement changes."""


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


def known_from(connection: sa.Connection, organization: str, since: datetime, kept: datetime) -> datetime | None:
    """From when on there are records of an organization, at most since then; None if there are none.

    The history has nothing from before `kept`: what was seen earlier says nothing of refusals.
    """
    owner = require_organization(connection, organization).id
    refused = sa.select(sa.func.min(decisions.c.at, type_=Moment)).where(decisions.c.organization_id == owner)
    seen = sa.select(sa.func.min(last_seen.c.first_seen, type_=Moment)).where(last_seen.c.organization_id == owner)
    first_refused, first_seen = (connection.execute(query).scalar() for query in (refused, seen))
    begins = [first_refused, None if first_seen is None else max(first_seen, kept)]
    first = min((at for at in begins if at is not None), default=None)
    return None if first is None else max(since, first)


def rehearse(connection: sa.Connection, organization: str, since: datetime, now: datetime) -> Iterator[RehearsedUser]:
    """What `required` would do to each active user who has another enforcement, by name; a row for each reason.

    Raises `StoreError`.
    """
    owner = get_organization(connection, organization)
    rows = connection.execute(_rehearsed(owner), {"owner": owner.id, "since": since, "now": now})
    for _, of_user in groupby(map(_user, rows), attrgetter("user")):
        yield from _chosen(list(of_user))


def _chosen(rows: list[RehearsedUser]) -> list[RehearsedUser]:
    """Of a user's rows each refusal to come, or each that is there already, or else one."""
    for outcome in (Rehearsed.REFUSED, Rehearsed.REFUSED_ALREADY):
        chosen = [row for row in rows if row.outcome is outcome]
        if chosen:
            return chosen
    return rows[:1]


def _user(row: sa.Row[Any]) -> RehearsedUser:
    outcome = _outcome(row)
    refused = outcome in {Rehearsed.REFUSED, Rehearsed.REFUSED_ALREADY}
    reason, times, last = (row.reason, int(row.times), row.last_refused) if refused else ("", 0, None)
    return RehearsedUser(row.name, Enforcement(row.enforcement), outcome, reason, times, last, row.last_matched)


def _outcome(row: sa.Row[Any]) -> Rehearsed:
    if row.by_enforcement:
        return Rehearsed.REFUSED
    if row.last_matched is not None:
        return Rehearsed.ENDED if row.last_good is None else Rehearsed.PASSES
    if row.last_seen is not None:
        return Rehearsed.NOT_COMPARED
    return Rehearsed.NEVER_SEEN if row.reason is None else Rehearsed.REFUSED_ALREADY


_OWNER: sa.BindParameter[int] = sa.bindparam("owner")
_SINCE = sa.bindparam("since", type_=Moment)


def _seen(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    query = sa.select(sa.func.max(last_seen.c.last_seen, type_=Moment)).where(last_seen.c.user_id == users.c.id)
    return query.where(last_seen.c.last_seen >= _SINCE, *conditions).correlate(users).scalar_subquery()


_COMPARED = [reason.value for reason in Reason if reason.gate is Gate.BINDING]


def _rehearsed(owner: Organization) -> sa.Select[Any]:
    # A user who was `required` for a while was refused for what would refuse that user again; and one who is off is
    # allowed without a certificate, where the history keeps that.
    by_enforcement = (decisions.c.outcome != Outcome.DENIED) | decisions.c.reason.in_(_COMPARED)
    allowed = decisions.c.outcome == Outcome.ALLOWED
    reason = sa.case((allowed, Reason.CERTIFICATE_REQUIRED.value), else_=decisions.c.reason).label("reason")
    refused = (
        sa.select(
            decisions.c.user_name,
            reason,
            by_enforcement.label("by_enforcement"),
            sa.func.sum(decisions.c.repeats).label("times"),
            sa.func.max(decisions.c.at, type_=Moment).label("last_refused"),
        )
        .where(decisions.c.organization_id == _OWNER, decisions.c.proven, decisions.c.at >= _SINCE)
        .where(sa.not_(allowed) | decisions.c.certificate.is_(None))
        .group_by(decisions.c.user_name, reason, by_enforcement)
        .subquery()
    )
    matched, good = last_seen.c.matched != "", still_registered(owner)
    columns = [users.c.name, users.c.enforcement, *(column for column in refused.c if column.name != "user_name")]
    seen = [_seen().label("last_seen"), _seen(matched).label("last_matched"), _seen(matched, good).label("last_good")]
    query = sa.select(*columns, *seen).outerjoin(refused, refused.c.user_name == users.c.name)
    query = query.where(users.c.organization_id == _OWNER, users.c.active, users.c.enforcement != Enforcement.REQUIRED)
    return query.order_by(users.c.name, refused.c.reason)
