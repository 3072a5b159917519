"""Reads what single users have: registrations that have not ended, certificates seen lately, others' of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from authz.directory.end_columns import ALWAYS, IDS, NEVER, NOW, SINCE_LATELY, plain
from authz.directory.report import LATELY
from authz.directory.schema import last_seen, registrations, users
from authz.directory.shared_ends import SHARED_DIGESTS


class RegistrationRow(NamedTuple):
    """What is looked at of a registration."""

    id: int
    user: int
    kind: str
    sha256: bytes | None
    valid_from: int | None
    valid_until: int | None
    retired_at: int | None
    not_before: int | None
    not_after: int | None
    issuer: bytes | None
    authority_key_id: bytes | None
    chain_sha256: bytes | None
    anchor_sha256: bytes | None


class SightingRow(NamedTuple):
    """What is looked at of a certificate that a user presented lately, and whether `with_others` beside it."""

    user: int
    sha256: bytes
    not_after: int
    path: bytes
    matched: str
    refused_by: str
    with_others: bool
    spki_sha256: bytes


class SharedRow(NamedTuple):
    """A period in which some registration of a certificate or key counts, and the others stored with it."""

    valid_from: int | None
    valid_until: int | None
    retired_at: int | None
    chain_sha256: bytes | None


class Holder:
    """An active user with what it has: registrations that have not ended, and certificates seen lately.

    `shared` are the registrations of anybody, ended or not, by the SHA-256 of the certificate or key of a sighting,
    but for those that others cover: where those of all the organization count.
    """

    __slots__ = ("enforcement", "name", "organization", "registrations", "shared", "sightings")

    def __init__(self, organization: int, name: str, enforcement: str) -> None:
        self.organization = organization
        self.name = name
        self.enforcement = enforcement
        self.registrations: list[RegistrationRow] = []
        self.sightings: list[SightingRow] = []
        self.shared: dict[bytes, list[SharedRow]] = {}


def holders(
    connection: sa.Connection, wanted: Collection[int], now: datetime, sharing: Collection[int] = ()
) -> dict[int, Holder]:
    """Those of the users `wanted` who are active, by their ids; registrations count for all in organizations `sharing`.

    Registrations that thousands of users have made of one certificate or key are read once.
    """
    ids = {"ids": sorted(wanted), "now": now, "lately": now - LATELY}
    known = {row[0]: Holder(*row[1:]) for row in connection.execute(_HOLDERS, ids).all()}
    for row in connection.execute(_HELD, ids).all():
        if row[1] in known:
            known[row[1]].registrations.append(RegistrationRow._make(row))
    for row in connection.execute(_SEEN, ids).all():
        if row[0] in known:
            known[row[0]].sightings.append(SightingRow._make(row))
    for owner in {holder.organization for holder in known.values()}.intersection(sharing):
        _add_shared(connection, owner, [holder for holder in known.values() if holder.organization == owner])
    return known


def _add_shared(connection: sa.Connection, owner: int, some: Collection[Holder]) -> None:
    """To each holder of the organization the longest that is registered of its sightings."""
    read = defaultdict[bytes, list[SharedRow]](list)
    for query, digest in _SHARED:
        digests = sorted({getattr(sighting, digest) for holder in some for sighting in holder.sightings})
        if digests:
            for row in connection.execute(query, {"owner": owner, "digests": digests}).all():
                read[row[0]].append(SharedRow(*row[1:]))
    shared = {digest: longest(periods) for digest, periods in read.items()}
    for holder in some:
        mine = {digest for row in holder.sightings for digest in (row.sha256, row.spki_sha256)}
        holder.shared = {digest: shared[digest] for digest in mine & shared.keys()}


def first_end(period: SharedRow | RegistrationRow) -> int:
    """The first that is given; `NEVER` if none is."""
    return min((end for end in (period.valid_until, period.retired_at) if end is not None), default=NEVER)


def longest(periods: Iterable[SharedRow]) -> list[SharedRow]:
    """Each run of them as one, of what came with the same CAs: of thousands of one certificate few are left."""
    left = list[SharedRow]()
    for period in sorted(periods, key=lambda row: (row.valid_from is not None, row.valid_from or 0, -first_end(row))):
        end, reach = first_end(period), first_end(left[-1]) if left else ALWAYS
        if end <= reach:
            continue
        if left and left[-1].chain_sha256 == period.chain_sha256 and (period.valid_from or ALWAYS) <= reach:
            left[-1] = left[-1]._replace(valid_until=None if end == NEVER else end, retired_at=None)
        else:
            left.append(period)
    return left


_DIGESTS: sa.BindParameter[Any] = sa.bindparam("digests", expanding=True)
_SHARED = [
    (
        sa.select(
            registrations.c[digest],
            *(plain(registrations.c[name]) for name in ("valid_from", "valid_until", "retired_at")),
            registrations.c.chain_sha256,
        )
        .where(registrations.c.organization_id == sa.bindparam("owner"), registrations.c.kind == kind)
        .where(registrations.c[digest].in_(_DIGESTS))
        .distinct(),
        digest,
    )
    for kind, digest in SHARED_DIGESTS.items()
]
_HOLDERS = sa.select(users.c.id, users.c.organization_id, users.c.name, users.c.enforcement).where(
    users.c.id.in_(IDS), users.c.active
)
_OF_REGISTRATION = dict(zip(RegistrationRow._fields, RegistrationRow._fields, strict=True)) | {"user": "user_id"}
_MOMENTS = {"valid_from", "valid_until", "retired_at", "not_before", "not_after"}
_HELD = (
    sa.select(
        *(
            plain(registrations.c[column]) if column in _MOMENTS else registrations.c[column]
            for column in _OF_REGISTRATION.values()
        ),
    )
    .where(registrations.c.user_id.in_(IDS))
    .where(*(column.is_(None) | (column > NOW) for column in (registrations.c.retired_at, registrations.c.valid_until)))
    .order_by(registrations.c.id)
)
_SEEN = sa.select(
    last_seen.c.user_id,
    last_seen.c.sha256,
    plain(last_seen.c.not_after),
    last_seen.c.path,
    last_seen.c.matched,
    last_seen.c.refused_by,
    last_seen.c.with_others,
    last_seen.c.spki_sha256,
).where(last_seen.c.user_id.in_(IDS), last_seen.c.last_seen >= SINCE_LATELY)
