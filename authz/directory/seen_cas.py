"""The CAs on verified paths whose certificates only clients send: with them a report knows when such a path ends.

They are of the organization whose user sent them, and so many of each are kept. While one is seen, no later one takes
its place: a client that makes new CAs below an anchor displaces none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from authz.directory.database import insert_of
from authz.directory.report import LATELY
from authz.directory.schema import Moment, intermediates, organizations, seen_cas

CAS_EACH: Final = 64
"""CAs of one organization; processes that write at the same moment may add as many each."""

MAX_DER: Final = 4_096
"""Bytes of a certificate that is kept: those of CAs have 1,000."""

REFRESHED: Final = timedelta(days=1)
"""How old `last_seen` may be: it says only which are in use."""


def list_seen_cas(connection: sa.Connection, owner: int | None = None) -> Iterator[bytes]:
    """The DER of each of an organization, or for None of all: once for each that has it."""
    query = sa.select(seen_cas.c.der).order_by(seen_cas.c.organization_id, seen_cas.c.sha256)
    return iter(
        connection.execute(query if owner is None else query.where(seen_cas.c.organization_id == owner)).scalars()
    )


def keep_seen_cas(connection: sa.Connection, rows: Collection[tuple[int, bytes, bytes]], now: datetime) -> None:
    """Keep CAs, each with the id of its organization, its SHA-256 and its DER, if there is room and none is stored."""
    owners = [{"of_owner": owner, "lately": now - LATELY} for owner in sorted({row[0] for row in rows})]
    connection.execute(_FORGET, owners)
    names = ("organization_id", "sha256", "der")
    values = [{**dict(zip(names, row, strict=True)), "last_seen": now} for row in sorted(rows)]
    connection.execute(_kept(insert_of(connection)), values)


_OWNER = sa.bindparam("organization_id", type_=seen_cas.c.organization_id.type)
_SHA256 = sa.bindparam("sha256", type_=seen_cas.c.sha256.type)
_FORGET = sa.delete(seen_cas).where(
    seen_cas.c.organization_id == sa.bindparam("of_owner"), seen_cas.c.last_seen < sa.bindparam("lately", type_=Moment)
)


def _may_be_kept() -> list[sa.ColumnElement[bool]]:
    mine = sa.select(sa.func.count()).where(seen_cas.c.organization_id == _OWNER)
    others = intermediates.c
    stored = sa.exists().where(
        others.sha256 == _SHA256, others.organization_id.is_(None) | (others.organization_id == _OWNER)
    )
    known = sa.exists().where(seen_cas.c.organization_id == _OWNER, seen_cas.c.sha256 == _SHA256)
    living = sa.exists().where(organizations.c.id == _OWNER)
    return [living, sa.not_(stored), known | (mine.scalar_subquery() < CAS_EACH)]


@cache
def _kept(insert: Any) -> sa.Insert:
    values = sa.select(*(sa.bindparam(column.name, type_=column.type) for column in seen_cas.c))
    statement = insert(seen_cas).from_select(seen_cas.c.keys(), values.where(*_may_be_kept()))
    kept: sa.Insert = statement.on_conflict_do_update(
        index_elements=[seen_cas.c.organization_id, seen_cas.c.sha256],
        set_={"last_seen": statement.excluded.last_seen},
        where=seen_cas.c.last_seen < sa.type_coerce(statement.excluded.last_seen, sa.BigInteger) - _DAY,
    )
    return kept


_DAY: Final = REFRESHED // timedelta(microseconds=1)
