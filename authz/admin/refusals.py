"""Who would be refused after a change, by what was seen lately: said before it, because nothing warns them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import orjson
import sqlalchemy as sa

from authz.admin.documents import Kind, RegistrationName, Wanted, moment
from authz.admin.plan import Action, Step
from authz.directory.schema import decisions, last_seen, organizations, users
from authz.model import Enforcement, Outcome, RegistrationKind

LATELY: Final = timedelta(days=30)
"""How far back is looked: as long as the history keeps decisions by default."""


class Refusal(NamedTuple):
    """A user who would be refused: why, how often that was seen, and when last."""

    organization: str
    user: str
    why: str
    times: int
    last_at: datetime

    def __str__(self) -> str:
        times = "once" if self.times == 1 else f"{self.times} times"
        last = f"{self.last_at:%Y-%m-%d %H:%M:%SZ}"
        return f"{self.user} of {self.organization} would be refused: {self.why} ({times}, last {last})"


def refusals(connection: sa.Connection, steps: Iterable[Step], now: datetime) -> Iterator[Refusal]:
    """Who would be refused after the steps, by what observe has recorded, and by what was seen lately."""
    for step in steps:
        wanted = step.wanted
        after = orjson.loads(wanted.content) if wanted.content else {}
        match wanted.kind:
            case Kind.USER if step.action is not Action.ADD:
                if not after or not after["active"]:
                    why = "the user is removed" if not after else "the user is switched off"
                    yield from _seen(connection, now, why, _owned(wanted), users.c.name == wanted.user)
                elif after["enforcement"] == Enforcement.REQUIRED:
                    yield from observed(connection, wanted.organization, wanted.user, now)
            case Kind.CERTIFICATE if not after or _ended(after, now):
                required = users.c.enforcement == Enforcement.REQUIRED
                here = _owned(wanted), users.c.name == wanted.user, _matched(wanted.name), required
                yield from _seen(connection, now, "the registration is retired", *here)
            case Kind.ANCHOR if not after:
                anchor = last_seen.c.anchor_sha256 == bytes.fromhex(wanted.name)
                where = (_owned(wanted), anchor) if wanted.organization else (anchor,)
                yield from _seen(connection, now, "the anchor of the certificate is removed", *where)
            case Kind.ORGANIZATION if step.action is not Action.ADD and not after.get("active"):
                yield from _seen(connection, now, "the organization is removed or switched off", _owned(wanted))


def _matched(name: str) -> sa.ColumnElement[bool]:
    """Whether that registration was the one that matched."""
    registered = RegistrationName.of(name)
    seen = {
        RegistrationKind.CERTIFICATE: last_seen.c.sha256 == registered.digest,
        RegistrationKind.KEY: last_seen.c.spki_sha256 == registered.digest,
        RegistrationKind.IDENTITY: last_seen.c.anchor_sha256 == registered.anchor,
    }
    return (last_seen.c.matched == registered.kind) & seen[registered.kind]


def _owned(wanted: Wanted) -> sa.ColumnElement[bool]:
    return organizations.c.name == wanted.organization


def _ended(content: dict[str, str | None], now: datetime) -> bool:
    ends = (moment(content["until"]), moment(content["retired"]))
    return any(end is not None and end <= now for end in ends)


def _seen(connection: sa.Connection, now: datetime, why: str, *where: sa.ColumnElement[bool]) -> Iterator[Refusal]:
    """The users that were seen lately with a certificate, of those rows."""
    query = (
        sa.select(organizations.c.name, users.c.name.label("user"), last_seen.c.last_seen)
        .join(users, users.c.id == last_seen.c.user_id)
        .join(organizations, organizations.c.id == last_seen.c.organization_id)
        .where(*where, last_seen.c.last_seen >= now - LATELY, last_seen.c.refused_by == "")
        .order_by(organizations.c.name, users.c.name)
    )
    for row in connection.execute(query):
        yield Refusal(row.name, row.user, why, 1, row.last_seen)


def observed(connection: sa.Connection, organization: str, user: str, now: datetime) -> Iterator[Refusal]:
    """For what reasons `required` would have refused a user, as `observe` has recorded it."""
    owner = sa.select(organizations.c.id).where(organizations.c.name == organization).scalar_subquery()
    query = (
        sa.select(decisions.c.reason, sa.func.sum(decisions.c.repeats), sa.func.max(decisions.c.at))
        .where(decisions.c.organization_id == owner, decisions.c.proven, decisions.c.account == user)
        .where(decisions.c.outcome == Outcome.OBSERVED, decisions.c.at >= now - LATELY)
        .group_by(decisions.c.reason)
        .order_by(decisions.c.reason)
    )
    for reason, times, last in connection.execute(query):
        yield Refusal(organization, user, reason, int(times), last)
