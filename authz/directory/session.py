"""The reading half of the directory, in a thread of its own: one connection, one transaction for many rows.

Every read transaction begins with the state, so that a row is never older than the state it is
tagged with. A connection that fails is thrown away and made anew; a database that was replaced or restored is noticed.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from authz.directory.audit import Checkpoint, checkpoint
from authz.directory.authorities import known_authorities
from authz.directory.database import READ_ERRORS
from authz.directory.databases import database_of
from authz.directory.keys import ChangedKey, RowKey
from authz.directory.prepared import prepared, transaction
from authz.directory.row_log import STATE, State, changes
from authz.directory.row_queries import read_rows
from authz.directory.schema import crls, directory_state, organizations
from authz.errors import Refused
from authz.model import CrlRow
from authz.reasons import Reason


@dataclass(slots=True)
class Reading:
    """What one transaction saw.

    `changed` has the keys of the rows that changed since the state known before; None if everything known before is
    void: the file was replaced, or the log does not lead from that state to this one. `found` has the rows that were
    asked for, and others that the same checks will want. `failed` has the rows that make no sense: they refuse the
    checks that ask for them, and no others.
    """

    state: State
    changed: Collection[ChangedKey] | None = ()
    found: dict[RowKey, object] = field(default_factory=dict)
    failed: dict[RowKey, Refused] = field(default_factory=dict)

    @property
    def anew(self) -> bool:
        """Whether everything known before is void."""
        return self.changed is None


class Session:
    """Reads for one service. Not thread-safe: every method is called in one and the same thread, but for `interrupt`.

    Methods raise `Refused` (directory_unavailable) when the directory cannot be read.
    """

    def __init__(self, url: str) -> None:
        database = database_of(url)
        self.interrupt = database.interrupt
        self._connection = database.watch()
        self._seen: tuple[Hashable, State] | None = None
        self._settled = True

    def read(self, known: State, keys: Collection[RowKey] = (), wanted: Collection[int] = ()) -> Reading:
        """The state, what changed since `known`, and the rows of `keys`; for `wanted` see `read_rows`."""
        if not keys:
            return self._poll(known)
        with self._connected() as connection, transaction(connection, self._connection.begin):
            reading = self._read(connection, known)
            reading.found, reading.failed = read_rows(connection, keys, wanted)
        self._settle(reading, poll=False)
        return reading

    def _poll(self, known: State) -> Reading:
        with self._connected() as connection:
            version = self._connection.version(connection)
            if self._seen == (version, known):
                self._settled = True
                return Reading(known)
            with transaction(connection, self._connection.begin):
                reading = self._read(connection, known)
        self._settle(reading, poll=True)
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

    def _read(self, connection: sa.Connection, known: State) -> Reading:
        state = State(*prepared(STATE, connection.dialect).rows(connection)[0])
        torn = self._connection.written and not self._settled
        if self._connection.replaced or torn:
            return Reading(state, None)
        if state == known:
            return Reading(state)
        return Reading(state, changes(connection, known, state) if self._connection.logs_utf8(connection) else None)

    def crls(self, known: State) -> tuple[Reading, list[CrlRow]]:
        """Every CRL, the smallest first, and the state in which they were listed, as `read` gives it."""
        size = sa.func.length(crls.c.der).label("size")
        query = sa.select(crls.c.sha256, crls.c.signer, size, crls.c.signer_key).order_by(size)
        with self._transaction() as connection:
            reading = self._read(connection, known)
            listing = [CrlRow(*row[:3], row.signer_key or b"") for row in connection.execute(query)]
        self._settle(reading, poll=False)
        return reading, listing

    def crl(self, sha256: bytes) -> bytes | None:
        """The DER of one CRL; None if it went meanwhile."""
        with self._transaction() as connection:
            return connection.execute(sa.select(crls.c.der).where(crls.c.sha256 == sha256)).scalar()

    def authorities(self) -> list[bytes]:
        """Every organization's anchors and intermediates, in DER, what was stored first before."""
        with self._transaction() as connection:
            return known_authorities(connection)

    def audit_checkpoint(self) -> Checkpoint | None:
        """The state of the audit log; None before its first entry."""
        with self._transaction() as connection:
            return checkpoint(connection)

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
