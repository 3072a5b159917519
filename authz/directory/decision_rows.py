"""Decisions of the history, to and from their rows."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from authz.directory.schema import decisions, organizations, presentations
from authz.model import Outcome, Recorded

_LENGTHS: Final = struct.Struct(">HI")
_COLUMNS: Final = (
    "decision_id", "at", "listener", "outcome", "reason", "detail", "host", "method", "target",
    "organization", "confirmation", "certificate", "subject", "organization_id", "proven", "repeats", "first_at",
)  # fmt: skip


WEIGHT_BYTES: Final = 4 * 1024
"""What a decision of weight 1 takes at most: one with a leaf and an intermediate. A larger one weighs more."""


def row_of(one: Recorded) -> dict[str, Any]:
    """The columns of a decision, but for the headers, which have a table of their own."""
    of_account = {"account": account_of(one), "weight": weight_of(one), "kind": kind_of(one)}
    return {name: getattr(one, name) for name in _COLUMNS} | {"user_name": one.user} | of_account


def account_of(one: Recorded) -> str:
    """Who shares the organization's room with others alike: a user, or before there is one, a reason."""
    return one.user if one.proven else one.reason


def kind_of(one: Recorded) -> str | None:
    """What decisions without any identity have in common that are one for a day; None for those that each are one.

    Nothing in it is a stranger's choice but the reason.
    """
    if one.user:
        return None
    return f"{one.at:%Y-%m-%d} {one.organization_id or 0} {one.outcome} {one.reason} {one.listener}"


def weight_of(one: Recorded) -> int:
    """Room that a decision takes, in `WEIGHT_BYTES`, the headers with it even where others have the same."""
    texts = (one.detail, one.host, one.target, one.user, one.subject)
    headers = sum(len(name) + len(value) for name, value in one.headers or ())
    return 1 + (sum(len(text.encode()) for text in texts) + headers) // WEIGHT_BYTES


def pack(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Headers as one value: for each its lengths (2 and 4 octets), name and value."""
    return b"".join(_LENGTHS.pack(len(name), len(value)) + name + value for name, value in headers)


def unpack(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """What `pack` was given."""
    found = []
    at = 0
    while at < len(data):
        name, value = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        found.append((data[at : at + name], data[at + name : at + name + value]))
        at += name + value
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which decisions are wanted; None asks for all. `certificate` is the beginning of a SHA-256, hexadecimal."""

    organization: str | None = None
    user: str | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    certificate: str | None = None
    since: datetime | None = None
    limit: int = 50


def wanted_decisions(wanted: Filter) -> sa.Select[Any]:
    """The newest decisions that a filter lets through, the newest first, without their headers."""
    query = sa.select(decisions, sa.null().label("headers"))
    query = query.order_by(decisions.c.at.desc(), decisions.c.id.desc()).limit(wanted.limit)
    if wanted.organization is not None:
        owner = sa.select(organizations.c.id).where(organizations.c.name == wanted.organization)
        query = query.where(decisions.c.organization_id == owner.scalar_subquery())
    equal = (("user_name", wanted.user), ("outcome", wanted.outcome))
    for column, value in (*equal, ("reason", wanted.reason)):
        if value is not None:
            query = query.where(decisions.c[column] == value)
    if wanted.certificate is not None:
        query = query.where(sa.func.lower(sa.func.hex(decisions.c.certificate)).startswith(wanted.certificate.lower()))
    return query if wanted.since is None else query.where(decisions.c.at >= wanted.since)


def decision_query(beginning: str) -> sa.Select[Any]:
    """Decisions whose id begins so, two at most, with their headers."""
    query = sa.select(decisions, presentations.c.headers).outerjoin(presentations)
    return query.where(decisions.c.decision_id.startswith(beginning, autoescape=True)).limit(2)


def recorded(row: sa.Row[Any]) -> Recorded:
    """A decision from its row."""
    return Recorded(
        row.decision_id,
        row.at,
        row.listener,
        Outcome(row.outcome),
        row.reason,
        row.detail,
        row.host,
        row.method,
        row.target,
        row.organization,
        row.user_name,
        row.confirmation,
        row.certificate,
        row.subject,
        None if row.headers is None else unpack(row.headers),
        row.organization_id,
        row.proven,
        row.repeats,
        row.first_at,
    )
