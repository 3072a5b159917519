"""Reads the paths on which certificates were seen, and the CAs that came with registrations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from authz.directory.end_columns import SINCE_LATELY
from authz.directory.queries import distinct, distinct_values
from authz.directory.report import LATELY
from authz.directory.schema import last_seen, organizations, registrations, users

DIGEST: Final = 32
"""Bytes of a SHA-256."""


def grouped_path(path: bytes) -> tuple[bytes, ...]:
    """The SHA-256 of each CA of a path, from the leaf's issuer to the anchor."""
    return tuple(path[at : at + DIGEST] for at in range(0, len(path), DIGEST))


def paths_in_use(connection: sa.Connection) -> list[tuple[bytes, ...]]:
    """The different paths that were seen: the SHA-256 of each CA, from the leaf's issuer to the anchor."""
    return list(map(grouped_path, distinct(connection, last_seen.c.path)))


def count_users_by_path(connection: sa.Connection) -> dict[tuple[bytes, ...], int]:
    """The users who were ever seen with each path, by one pass over an index."""
    query = sa.select(last_seen.c.path, sa.func.count(last_seen.c.user_id.distinct())).group_by(last_seen.c.path)
    return {grouped_path(row[0]): row[1] for row in connection.execute(query)}


def count_users_of_paths(connection: sa.Connection, paths: Collection[Sequence[bytes]]) -> int:
    """The users who were ever seen with one of the paths: an index alone is read."""
    query = sa.select(sa.func.count(last_seen.c.user_id.distinct()))
    counted = query.where(last_seen.c.path.in_([b"".join(path) for path in paths]))
    return connection.execute(counted).scalar_one()


def users_of_paths(connection: sa.Connection, paths: Collection[Sequence[bytes]], now: datetime) -> dict[int, int]:
    """How many users of each active organization were seen lately with one of the paths."""
    wanted = [b"".join(path) for path in paths]
    if not wanted:
        return {}
    below = defaultdict[int, int](int)
    for owner, count in connection.execute(_PATH_USERS, {"paths": wanted, "lately": now - LATELY}):
        below[owner] = count
    return below


def _path_users() -> sa.Select[Any]:
    paths: sa.BindParameter[Any] = sa.bindparam("paths", expanding=True)
    query = sa.select(last_seen.c.organization_id, sa.func.count(last_seen.c.user_id.distinct()))
    query = query.select_from(last_seen).join(users, users.c.id == last_seen.c.user_id)
    query = query.join(organizations, organizations.c.id == last_seen.c.organization_id)
    query = query.where(last_seen.c.path.in_(paths), last_seen.c.last_seen >= SINCE_LATELY)
    return query.where(users.c.active, organizations.c.active).group_by(last_seen.c.organization_id)


_PATH_USERS = _path_users()


def stored_chains(connection: sa.Connection, most: int) -> Iterator[tuple[bytes, bytes]]:
    """The different CAs that came with registrations: the SHA-256 of all, and their DER, one behind the other."""
    digests, columns = distinct_values(registrations.c.chain_sha256), registrations.c
    chain = sa.select(columns.chain).where(columns.chain_sha256 == digests.c.value).limit(1).scalar_subquery()
    for digest, ders in connection.execute(sa.select(digests.c.value, chain).limit(most)):
        yield digest, bytes(ders)
