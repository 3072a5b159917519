"""The reading half of the directory, in a thread of its own: one connection, one transaction for many rows.

Every read transaction begins with the state, so that a row is never older than the state it is
tagged with. A connection that fails is thrown away and made anew; a file that was replaced or restored is noticed.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from authz.directory import rows
from authz.directory.keys import HostKey, RegistrationsKey, RowKey, TrustKey, UserKey, owner_of
from authz.directory.queries import hosts_of, registrations_of
from authz.directory.schema import (
    anchors,
    crls,
    directory_changes,
    directory_state,
    hosts,
    intermediates,
    organizations,
    users,
)
from authz.directory.sqlite.change_watcher import READ_ERRORS, WatchedConnection
from authz.errors import Refused
from authz.model import CrlRow
from authz.pki import SERVICE_POLICY, Certificate, ValidationPolicy, service_policy
from authz.reasons import Reason

Revisions = tuple[int, int]
"""An organization's revision, and that of its trust."""


@dataclass(frozen=True, slots=True)
class State:
    """A state of the whole directory, and the revisions at which its parts changed last; -1 before anything was read.

    `revision` and `lineage` name the state together: no other ever has both.
    """

    revision: int = -1
    organizations: int = -1
    trust: int = -1
    crls: int = -1
    lineage: bytes = b""


@dataclass(slots=True)
class Reading:
    """What one transaction saw.

    `anew` says that everything known before is void: the file was replaced, or what was
    known is no ancestor of this state. `changed` has the revisions of organizations that changed since the state known
    before, and of those whose rows were asked for. A row that is not there is None, or an empty tuple;
    anchors that cannot be read are the refusal. `failed` has the rows that make no sense: they refuse
    the checks that ask for them, and no others.
    """

    state: State
    anew: bool = False
    changed: dict[int, Revisions] = field(default_factory=dict)
    found: dict[RowKey, object] = field(default_factory=dict)
    failed: dict[RowKey, Refused] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trust:
    """An organization's anchors and intermediates, read but for what they need of the loop, and its policy."""

    policy: ValidationPolicy
    anchors: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...]


ROW_ERRORS = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, *READ_ERRORS)
"""What a row of any values raises as it is read: SQLite keeps text among numbers, and bytes that are not UTF-8."""


class Session:
    """Reads for one service. Not thread-safe: every method is called in one and the same thread.

    Methods raise `Refused` (directory_unavailable) when the directory cannot be read.
    """

    def __init__(self, url: str) -> None:
        self._connection = WatchedConnection(url)
        self._seen: tuple[tuple[int, int], State] | None = None
        self._settled = True

    def read(self, known: State, keys: Collection[RowKey] = ()) -> Reading:
        """The state, what changed since `known`, and the rows of `keys`."""
        with self._connected() as connection:
            version = self._connection.version(connection)
            if not keys and self._seen == (version, known):
                self._settled = True
                return Reading(known)
            with connection.begin():
                reading = self._read(connection, known, keys)
        self._settle(reading, poll=not keys)
        # Asked for before the transaction: what was committed in between makes another version.
        self._seen = version, reading.state
        return reading

    def _settle(self, reading: Reading, *, poll: bool) -> None:
        """A copy onto the file was perhaps read half, so anything written into it then is read anew as well.

        This lasts until a poll, which comes some time after the one before, finds that nothing was written.
        """
        if reading.anew or (poll and not self._connection.written):
            self._settled = not reading.anew
        self._connection.replaced = self._connection.written = False

    def _read(self, connection: sa.Connection, known: State, keys: Collection[RowKey]) -> Reading:
        state = _state(connection)
        torn = self._connection.written and not self._settled
        anew = self._connection.replaced or torn or not _descends(connection, state, known)
        reading = Reading(state, anew=anew)
        if state.revision > known.revision and not reading.anew:
            since = sa.func.max(organizations.c.revision, organizations.c.trust_revision) > known.revision
            reading.changed = {row.id: (row.revision, row.trust_revision) for row in _revisions(connection, since)}
        for key in keys:
            owner = owner_of(key)
            if owner and owner not in reading.changed:
                reading.changed[owner] = _owner(connection, owner)
            try:
                reading.found[key] = _row(connection, key)
            except ROW_ERRORS as error:
                detail = f"a row makes no sense: {type(error).__name__}"
                reading.failed[key] = Refused(Reason.DIRECTORY_UNAVAILABLE, detail)
        return reading

    def crls(self, known: State) -> tuple[Reading, list[CrlRow]]:
        """Every CRL, the smallest first, and the state in which they were listed, as `read` gives it."""
        size = sa.func.length(crls.c.der).label("size")
        query = sa.select(crls.c.sha256, crls.c.signer, size, crls.c.signer_key).order_by(size)
        with self._transaction() as connection:
            reading = self._read(connection, known, ())
            listing = [CrlRow(*row[:3], row.signer_key or b"") for row in connection.execute(query)]
        self._settle(reading, poll=False)
        return reading, listing

    def crl(self, sha256: bytes) -> bytes | None:
        """The DER of one CRL; None if it went meanwhile."""
        with self._transaction() as connection:
            return connection.execute(sa.select(crls.c.der).where(crls.c.sha256 == sha256)).scalar()

    def authorities(self) -> list[bytes]:
        """Every organization's anchors and intermediates, in DER."""
        with self._transaction() as connection:
            query = sa.union(sa.select(anchors.c.der), sa.select(intermediates.c.der))
            return list(connection.execute(query).scalars())

    def active(self) -> tuple[Hashable, Collection[int]]:
        """Something that changes with organizations and their trust, and the organizations that are active."""
        columns = organizations.c.id, organizations.c.active, organizations.c.trust_revision
        with self._transaction() as connection:
            shared = connection.execute(sa.select(directory_state.c.trust_revision)).scalar()
            states = [tuple(row) for row in connection.execute(sa.select(*columns).order_by(organizations.c.id))]
        return (shared, *states), [number for number, active, _ in states if active]

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._connected() as connection, connection.begin():
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        try:
            with self._connection.connected() as connection:
                yield connection
        except READ_ERRORS as error:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE, type(error).__name__) from error


def _state(connection: sa.Connection) -> State:
    row = connection.execute(_STATE).one()
    return State(row.revision, row.organizations_revision, row.trust_revision, row.crls_revision, row.lineage)


def _descends(connection: sa.Connection, state: State, known: State) -> bool:
    """Whether `state` is what `known` became: only then do numbers above its own say all that changed since."""
    if known == State() or (state.revision, state.lineage) == (known.revision, known.lineage):
        return True
    was = {"revision": known.revision, "lineage": known.lineage}
    return state.revision > known.revision and connection.execute(_WAS, was).first() is not None


def _revisions(connection: sa.Connection, which: sa.ColumnElement[bool]) -> sa.CursorResult[Any]:
    return connection.execute(_REVISIONS.where(which))


def _owner(connection: sa.Connection, owner: int) -> Revisions:
    row = connection.execute(_OWNER, {"owner": owner}).first()
    return (-1, -1) if row is None else (row.revision, row.trust_revision)


def _row(connection: sa.Connection, key: RowKey) -> object:
    match key:
        case HostKey():
            row = connection.execute(_HOST, {"host": key.host}).first()
            return None if row is None else rows.organization(row, list(connection.execute(hosts_of(row.id))))
        case UserKey():
            row = connection.execute(_USER, {"owner": key.organization, "name": key.name}).first()
            return None if row is None else rows.user(row)
        case RegistrationsKey():
            matches = connection.execute(registrations_of(key.organization, key.sha256))
            return tuple(map(rows.registration, matches))
        case TrustKey():
            return _trust(connection, key.organization)


def _trust(connection: sa.Connection, owner: int) -> Trust | Refused:
    """Anchors that cannot be read deny their organization, and no other; so do settings that make no sense."""
    row = connection.execute(_ORGANIZATION, {"owner": owner}).first()
    policy = SERVICE_POLICY if row is None else service_policy(rows.path_settings(row))
    read = []
    try:
        for table in (anchors, intermediates):
            usable = (table.c.organization_id == owner) | table.c.organization_id.is_(None)
            ders = connection.execute(sa.select(table.c.der).where(usable).order_by(table.c.id)).scalars()
            read.append(tuple([_read(der) for der in ders]))
    except Refused as refusal:
        return Refused(Reason.TRUST_ANCHORS_UNUSABLE, refusal.detail, certificate=refusal.certificate)
    return Trust(policy, *read)


def _read(der: bytes) -> Certificate:
    """A certificate whose name was read as well, so that the event loop need not."""
    certificate = Certificate.parse(der)
    certificate.subject  # noqa: B018 - kept once it is read
    return certificate


_STATE = sa.select(directory_state)
_WAS = sa.select(directory_changes.c.id).where(
    directory_changes.c.revision == sa.bindparam("revision"), directory_changes.c.lineage == sa.bindparam("lineage")
)
_REVISIONS = sa.select(organizations.c.id, organizations.c.revision, organizations.c.trust_revision)
_OWNER = _REVISIONS.where(organizations.c.id == sa.bindparam("owner"))
_ORGANIZATION = sa.select(organizations).where(organizations.c.id == sa.bindparam("owner"))
_HOST = sa.select(organizations).join(hosts).where(hosts.c.host == sa.bindparam("host"))
_USER = sa.select(users).where(users.c.organization_id == sa.bindparam("owner"), users.c.name == sa.bindparam("name"))
