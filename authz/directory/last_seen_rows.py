"""What users presented last, as operators look it up."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from authz.directory.schema import last_seen


class SeenLeaf(NamedTuple):
    """A leaf that one user presented: at which listener and when last, and how that ended.

    `matched` is the kind of the registration that matched, `refused_by` the reason for which `required` refuses it,
    `refusals` how often it did; all are empty where enforcement is off.
    """

    sha256: bytes
    listener: str
    first_seen: datetime
    last_seen: datetime
    not_after: datetime
    matched: str
    refused_by: str
    refusals: int


def leaves_seen_of(connection: sa.Connection, user_id: int) -> list[SeenLeaf]:
    """Those of one user, the one seen last first."""
    columns = (last_seen.c[name] for name in SeenLeaf._fields)
    query = sa.select(*columns).where(last_seen.c.user_id == user_id).order_by(last_seen.c.last_seen.desc())
    return [SeenLeaf(*row) for row in connection.execute(query)]
