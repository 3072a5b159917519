"""The directory for writers: every verb is one transaction, wholly or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from authz.directory import crls, decision_rows, organizations, registrations, users
from authz.directory.authorities import ANCHORS, INTERMEDIATES
from authz.directory.crls import StoredCrl
from authz.directory.schema import crls as crls_table
from authz.directory.sqlite.engine import open_engine, open_reader
from authz.directory.sqlite.migrate import migrate
from authz.errors import Refused, StoreError
from authz.pki import Crl, CrlStore

P = ParamSpec("P")
T = TypeVar("T")


def _verb(function: Callable[Concatenate[sa.Connection, P], T]) -> Callable[Concatenate[Store, P], T]:
    """The method that calls `function` in a transaction of its own."""

    @wraps(function)
    def verb(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with store.transaction() as connection:
            return function(connection, *args, **kwargs)

    return verb


class Store:
    """The directory for writers. Opening brings it up to date.

    Every method raises `StoreError` when the directory cannot be used, or has not what it names. Several of the
    functions that the verbs are made of can share one `transaction`.
    """

    def __init__(self, url: str) -> None:
        migrate(url)
        self._engine = open_engine(url)
        self._reader = open_reader(url)

    def close(self) -> None:
        """Give the database back."""
        self._engine.dispose()
        self._reader.dispose()

    @contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[sa.Connection]:
        """A connection whose changes are stored when the block ends, all of them or, if it raises, none.

        One that is only `reading` waits for no writer, and no writer for it.
        """
        try:
            with (self._reader if reading else self._engine).begin() as connection:
                yield connection
        except sa.exc.IntegrityError as error:
            raise StoreError(f"the directory refuses: {error.orig}", hint="nothing was changed") from error
        except sa.exc.DatabaseError as error:
            raise StoreError(f"the directory cannot be used: {error.orig}", hint="nothing was changed") from error

    # The verb that has the name of its module stands last: from there on the name is the verb's.

    add_organization = _verb(organizations.add_organization)
    set_organization = _verb(organizations.set_organization)
    organization = _verb(organizations.get_organization)
    remove_organization = _verb(organizations.remove_organization)
    organizations = _verb(organizations.list_organizations)

    add_anchors = _verb(ANCHORS.add)
    anchors = _verb(ANCHORS.list)
    remove_anchor = _verb(ANCHORS.remove)
    add_intermediates = _verb(INTERMEDIATES.add)
    intermediates = _verb(INTERMEDIATES.list)
    remove_intermediate = _verb(INTERMEDIATES.remove)

    add_user = _verb(users.add_user)
    set_user = _verb(users.set_user)
    user = _verb(users.get_user)
    remove_user = _verb(users.remove_user)
    users = _verb(users.list_users)

    register = _verb(registrations.register)
    registration = _verb(registrations.get_registration)
    registered_elsewhere = _verb(registrations.registered_elsewhere)
    retire = _verb(registrations.retire)
    registrations = _verb(registrations.list_registrations)

    remove_crls = _verb(crls.remove_crls)
    crl_sources = _verb(crls.list_crl_sources)
    fetched_crls = _verb(crls.list_fetched_crls)
    ask_crl_sources = _verb(crls.ask_crl_sources)

    decisions = _verb(decision_rows.list_decisions)
    decision = _verb(decision_rows.get_decision)

    # CRLs may be large: they are read when the lock is given back. CAs may be many: they are read before it is taken.

    def add_crl(self, crl: Crl, now: datetime) -> StoredCrl:
        """See `authz.directory.crls.add_crl`."""
        with self.transaction(reading=True) as connection:
            known = crls.known_cas(connection)
        with self.transaction() as connection:
            return crls.add_crl(connection, crl, known, now)

    def crls(self) -> list[StoredCrl]:
        """Every CRL, in the order added."""
        with self.transaction() as connection:
            every = connection.execute(sa.select(crls_table).order_by(crls_table.c.id)).all()
        return [StoredCrl(Crl(row.der), row.signer, row.added_at) for row in every]

    def crl_store(self) -> CrlStore:
        """All CRLs, as the validator wants them; one that cannot be read is left out, as the service does."""
        with self.transaction() as connection:
            ders = connection.execute(sa.select(crls_table.c.der)).scalars().all()
        readable = []
        for der in ders:
            with contextlib.suppress(Refused):
                readable.append(Crl(der))
        return CrlStore(readable)
