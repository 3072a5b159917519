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
from authz.directory.sqlite.engine import database_file, open_engine, open_reader
from authz.directory.sqlite.version import check_directory, explained
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


def _query(function: Callable[Concatenate[sa.Connection, P], T]) -> Callable[Concatenate[Store, P], T]:
    """The method that calls `function` in a transaction of its own that only reads."""

    @wraps(function)
    def query(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with store.reading() as connection:
            return function(connection, *args, **kwargs)

    return query


def _list(function: Callable[Concatenate[sa.Connection, P], Iterator[T]]) -> Callable[Concatenate[Store, P], list[T]]:
    """The method that lists all that `function` yields. Where they may be many, call `function` within `reading`."""

    @wraps(function)
    def listed(connection: sa.Connection, /, *args: P.args, **kwargs: P.kwargs) -> list[T]:
        return list(function(connection, *args, **kwargs))

    return _query(listed)


class Store:
    """The directory for writers. What only reads holds no writer up.

    Every method raises `StoreError` when the directory cannot be used, or has not what it names. Several of the
    functions that the verbs are made of can share one `transaction`.
    """

    def __init__(self, url: str) -> None:
        check_directory(url)
        self._path = database_file(url)
        self._engine, self._reader = open_engine(url), open_reader(url)

    def close(self) -> None:
        """Give the database back."""
        self._engine.dispose()
        self._reader.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection whose changes are stored when the block ends, all of them or, if it raises, none."""
        with self._begun(self._engine) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that reads one state of the directory, however long the block lasts."""
        with self._begun(self._reader) as connection:
            yield connection

    @contextmanager
    def _begun(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except sa.exc.IntegrityError as error:
            raise StoreError(f"the directory refuses: {error.orig}", hint="nothing was changed") from error
        except sa.exc.DatabaseError as error:
            raise explained(self._path, error.orig or error) from error

    # The verb that has the name of its module stands last: from there on the name is the verb's.

    add_organization = _verb(organizations.add_organization)
    set_organization = _verb(organizations.set_organization)
    organization = _query(organizations.get_organization)
    remove_organization = _verb(organizations.remove_organization)
    organizations = _list(organizations.list_organizations)

    add_anchors = _verb(ANCHORS.add)
    anchors = _list(ANCHORS.list)
    remove_anchor = _verb(ANCHORS.remove)
    add_intermediates = _verb(INTERMEDIATES.add)
    intermediates = _list(INTERMEDIATES.list)
    remove_intermediate = _verb(INTERMEDIATES.remove)

    add_user = _verb(users.add_user)
    set_user = _verb(users.set_user)
    user = _query(users.get_user)
    remove_user = _verb(users.remove_user)
    users = _list(users.list_users)

    register = _verb(registrations.register)
    registration = _query(registrations.get_registration)
    registered_elsewhere = _query(registrations.registered_elsewhere)
    retire = _verb(registrations.retire)
    registrations = _list(registrations.list_registrations)

    remove_crl = _verb(crls.remove_crl)
    remove_crls = _verb(crls.remove_crls)
    crl_sources = _query(crls.list_crl_sources)
    fetched_crls = _query(crls.list_fetched_crls)
    ask_crl_sources = _verb(crls.ask_crl_sources)

    decisions = _list(decision_rows.list_decisions)
    decision = _query(decision_rows.get_decision)

    def add_crl(self, crl: Crl, now: datetime, *, anyway: bool = False) -> StoredCrl:
        """See `authz.directory.crls.add_crl`."""
        # CAs may be many: they are read before the lock is taken.
        with self.reading() as connection:
            known = crls.known_cas(connection)
        with self.transaction() as connection:
            return crls.add_crl(connection, crl, known, now, anyway=anyway)

    def crl_store(self) -> CrlStore:
        """All CRLs, as the validator wants them; one that cannot be read is left out, as the service does."""
        readable = []
        with self.reading() as connection:
            for der in connection.execute(sa.select(crls_table.c.der)).scalars():
                with contextlib.suppress(Refused):
                    readable.append(Crl(der))
        return CrlStore(readable)

    crls = _list(crls.list_crls)
