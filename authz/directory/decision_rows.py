"""Decisions of the history, to and from their rows, and how operators look them up."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from authz.directory.queries import MAX_CANDIDATES, begins
from authz.directory.schema import decisions, organizations, presentations
from authz.errors import Problem, StoreError
from authz.model import Outcome, RecordedDecision

_LENGTHS: Final = struct.Struct(">HI")
_LAST: Final = chr(0x10FFFF)
_COLUMNS: Final = (
    "decision_id", "at", "listener", "outcome", "reason", "detail", "host", "method", "target",
    "organization", "confirmation", "certificate", "subject", "organization_id", "proven", "repeats", "first_at",
)  # fmt: skip


WEIGHT_BYTES: Final = 4 * 1024
"""What a decision of weight 1 takes at most: one with a leaf and an intermediate. A larger one weighs more."""


def row_of(decision: RecordedDecision) -> dict[str, Any]:
    """The columns of a decision, but for the headers, which have a table of their own."""
    of_account = {"account": account_of(decision), "weight": weight_of(decision), "kind": kind_of(decision)}
    return {name: getattr(decision, name) for name in _COLUMNS} | {"user_name": decision.user} | of_account


def account_of(decision: RecordedDecision) -> str:
    """Whose part of the organization's room it takes: the user's, or before the user is known, the reason's.

    All allowed ones have one part, so that they drive out no refusal of another.
    """
    if decision.outcome is Outcome.ALLOWED:
        return ""
    return decision.user if decision.proven else decision.reason


def kind_of(decision: RecordedDecision) -> str | None:
    """What decisions without any identity have in common that are one for a day; None for those that each are decision.

    Nothing in it is a stranger's choice but the reason.
    """
    if decision.user:
        return None
    owner = decision.organization_id or 0
    return f"{decision.at:%Y-%m-%d} {owner} {decision.outcome} {decision.reason} {decision.listener}"


def weight_of(decision: RecordedDecision) -> int:
    """Room that a decision takes, in `WEIGHT_BYTES`, its headers included even where other rows share them."""
    texts = (decision.detail, decision.host, decision.target, decision.user, decision.subject)
    headers = sum(len(name) + len(value) for name, value in decision.headers or ())
    return 1 + (sum(len(text.encode()) for text in texts) + headers) // WEIGHT_BYTES


def pack(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Headers as one value: for each its lengths (2 and 4 bytes), name and value."""
    return b"".join(_LENGTHS.pack(len(name), len(value)) + name + value for name, value in headers)


def unpack(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """What `pack` was given."""
    headers = []
    at = 0
    while at < len(data):
        name, value = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        headers.append((data[at : at + name], data[at + name : at + name + value]))
        at += name + value
    return tuple(headers)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which decisions are wanted; None asks for all.

    `certificate` is the beginning of a SHA-256, hexadecimal; `after` that of an id: only what stands behind it.
    `refused` leaves out what any enforcement allows, `unowned` what was of an organization.
    """

    organization: str | None = None
    user: str | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    certificate: str | None = None
    since: datetime | None = None
    after: str | None = None
    limit: int | None = None
    refused: bool = False
    unowned: bool = False


def list_decisions(connection: sa.Connection, wanted: Filter) -> Iterator[RecordedDecision]:
    """The decisions that a filter lets through, the newest first, without their headers."""
    query = _wanted(wanted)
    if wanted.after is not None:
        last = _one(connection, wanted.after)
        place = decisions.c.at, decisions.c.id
        types = [column.type for column in place]
        query = query.where(sa.tuple_(*place) < sa.tuple_(last.at, last.id, types=types))
    return map(_recorded, connection.execute(query))


def _wanted(wanted: Filter) -> sa.Select[Any]:
    query = sa.select(decisions, sa.null().label("headers"))
    query = query.order_by(decisions.c.at.desc(), decisions.c.id.desc()).limit(wanted.limit)
    if wanted.organization is not None:
        owner = sa.select(organizations.c.id).where(organizations.c.name == wanted.organization)
        query = query.where(decisions.c.organization_id == owner.scalar_subquery())
    for column, value in (("user_name", wanted.user), ("outcome", wanted.outcome), ("reason", wanted.reason)):
        if value is not None:
            query = query.where(decisions.c[column] == value)
    if wanted.unowned:
        query = query.where(decisions.c.organization_id.is_(None))
    if wanted.refused:
        query = query.where(decisions.c.outcome != Outcome.ALLOWED)
    if wanted.certificate is not None:
        query = query.where(begins(decisions.c.certificate, wanted.certificate))
    return query if wanted.since is None else query.where(decisions.c.at >= wanted.since)


def get_decision(connection: sa.Connection, beginning: str) -> RecordedDecision:
    """The one decision whose id begins so, with its headers. Raises `StoreError` if there are none or several."""
    return _recorded(_one(connection, beginning))


def _one(connection: sa.Connection, beginning: str) -> sa.Row[Any]:
    query = sa.select(decisions, presentations.c.headers).outerjoin(presentations)
    # As a range: LIKE compares without case, and reads the whole table for it.
    here = decisions.c.decision_id
    query = query.where(here >= beginning, here < f"{beginning}{_LAST}").limit(MAX_CANDIDATES + 1)
    rows = connection.execute(query).all()
    if not rows:
        message = f"no decision of the history has an id that begins with {beginning}"
        raise StoreError(message, kind=Problem.DECISION_UNKNOWN)
    if len(rows) > 1:
        listed = ", ".join(row.decision_id for row in rows[:MAX_CANDIDATES])
        more = ", …" if len(rows) > MAX_CANDIDATES else ""
        message = f"more than one decision has an id that begins with {beginning!r}: {listed}{more}"
        raise StoreError(message, hint="give more digits of the one that is meant")
    return rows[0]


def _recorded(row: sa.Row[Any]) -> RecordedDecision:
    values = {name: getattr(row, name) for name in _COLUMNS} | {"outcome": Outcome(row.outcome)}
    return RecordedDecision(**values, user=row.user_name, headers=None if row.headers is None else unpack(row.headers))
