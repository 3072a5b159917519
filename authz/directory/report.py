"""Reads, for the metrics, what of the directory ends when, and whom `required` would refuse; no check waits for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from authz.directory import schema
from authz.directory.schema import decisions, directory_changes, last_seen, organizations, registrations, users
from authz.errors import Refused
from authz.model import DirectoryReport, Expiring, Outcome, RegistrationKind, key_set_id
from authz.pki import Certificate

LATELY: Final = timedelta(days=14)
"""A certificate that was not shown for longer has a successor, or its user is gone."""


class AuthorityFacts(NamedTuple):
    """What is reported of a CA certificate: when it ends, and the SHA-256 of its key in the one form."""

    not_after: datetime
    plain_spki_sha256: bytes


class ReportReader:
    """Makes reports, one after the other; what it has parsed of CA certificates is not parsed again."""

    def __init__(self) -> None:
        self._facts: dict[bytes, AuthorityFacts | None] = {}

    def read(self, connection: sa.Connection, now: datetime) -> DirectoryReport:
        """The report of one state of the directory."""
        ends: dict[tuple[Expiring, str], datetime] = {}
        signers: defaultdict[bytes, set[str]] = defaultdict(set)
        for kind, name, end in _first_ends(connection, now):
            _sooner(ends, kind, name, end)
        for kind, name, facts in self._authorities(connection):
            signers[facts.plain_spki_sha256].add(name)
            if facts.not_after >= now:
                _sooner(ends, kind, name, facts.not_after)
        key_sets: defaultdict[str, set[str]] = defaultdict(set)
        for row in connection.execute(_KEY_SETS):
            key_sets[key_set_id(row.token_keys)].add(row.name)
        return DirectoryReport(
            ends,
            {signer: frozenset(names) for signer, names in signers.items()},
            {key: frozenset(names) for key, names in key_sets.items()},
            {row.name: row.users for row in connection.execute(_OBSERVED)},
            connection.execute(_CHANGED).scalar(),
        )

    def _authorities(self, connection: sa.Connection) -> Iterator[tuple[Expiring, str, AuthorityFacts]]:
        """The CA certificates that can be read, each with its organization."""
        known: dict[bytes, AuthorityFacts | None] = {}
        for kind, table in ((Expiring.ANCHOR, schema.anchors), (Expiring.INTERMEDIATE, schema.intermediates)):
            for row in connection.execute(_owners(table)).all():
                facts = known[row.sha256] = self._facts_of(connection, table, row.sha256)
                if facts is not None:
                    yield kind, row.name or "", facts
        self._facts = known

    def _facts_of(self, connection: sa.Connection, table: sa.Table, sha256: bytes) -> AuthorityFacts | None:
        if sha256 not in self._facts:
            query = sa.select(table.c.der).where(table.c.sha256 == sha256).limit(1)
            self._facts[sha256] = _facts(connection.execute(query).scalar_one())
        return self._facts[sha256]


def _facts(der: bytes) -> AuthorityFacts | None:
    """None for a certificate that cannot be read, which no path has either."""
    try:
        certificate = Certificate.parse(der)
        return AuthorityFacts(certificate.not_after, certificate.plain_spki_sha256)
    except (Refused, ValueError):
        return None


def _sooner(ends: dict[tuple[Expiring, str], datetime], kind: Expiring, name: str, end: datetime) -> None:
    ends[kind, name] = min(end, ends.get((kind, name), end))


def _first_ends(connection: sa.Connection, now: datetime) -> Iterator[tuple[Expiring, str, datetime]]:
    """What will end first of each active organization: certificates and registrations in use, certificates seen."""
    for row in connection.execute(_FIRST_ENDS, {"now": now, "lately": now - LATELY}):
        columns = row.not_after, row.valid_until, row.retired_at, row.presented
        kinds = *[Expiring.REGISTRATION] * 3, Expiring.PRESENTED
        yield from ((kind, row.name, end) for kind, end in zip(kinds, columns, strict=True) if end is not None)


def _owners(table: sa.Table) -> sa.Select[tuple[str | None, bytes]]:
    return sa.select(organizations.c.name, table.c.sha256).select_from(table.outerjoin(organizations))


def _first(end: sa.Column[datetime], *conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[datetime]:
    """The first `end` of an organization that is to come: one step in an index of it, not a look at every row."""
    table = end.table
    query = sa.select(end).join(users, users.c.id == table.c.user_id)
    query = query.where(table.c.organization_id == organizations.c.id, end >= _NOW, users.c.active, *conditions)
    return query.order_by(end).limit(1).correlate(organizations).scalar_subquery()


_NOW, _LATELY = (sa.bindparam(name, type_=schema.Moment) for name in ("now", "lately"))
# A key or a name is registered beyond the certificate that it was registered with.
_IS_CERTIFICATE = registrations.c.kind == RegistrationKind.CERTIFICATE
_IN_USE = [
    *(column.is_(None) | (column >= _NOW) for column in (registrations.c.retired_at, registrations.c.valid_until)),
    sa.not_(_IS_CERTIFICATE) | registrations.c.not_after.is_(None) | (registrations.c.not_after >= _NOW),
]
_FIRST_ENDS = sa.select(
    organizations.c.name,
    _first(registrations.c.not_after, _IS_CERTIFICATE, *_IN_USE).label("not_after"),
    _first(registrations.c.valid_until, *_IN_USE).label("valid_until"),
    _first(registrations.c.retired_at, *_IN_USE).label("retired_at"),
    _first(last_seen.c.not_after, last_seen.c.last_seen >= _LATELY).label("presented"),
).where(organizations.c.active)

_KEY_SETS = sa.select(organizations.c.name, organizations.c.token_keys).where(
    organizations.c.active, organizations.c.token_keys.is_not(None)
)

_OBSERVED = (
    sa.select(organizations.c.name, sa.func.count(decisions.c.account.distinct()).label("users"))
    .join(organizations, organizations.c.id == decisions.c.organization_id)
    .where(decisions.c.proven, decisions.c.outcome == Outcome.OBSERVED)
    .group_by(organizations.c.id)
)

_CHANGED = sa.select(directory_changes.c.at).order_by(directory_changes.c.id.desc()).limit(1)
