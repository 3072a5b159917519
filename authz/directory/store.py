"""The directory for writers: every verb is one transaction, wholly or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from authz import pki
from authz.directory import crls, decision_rows, organizations, registrations, schema
from authz.directory.authorities import ANCHORS, INTERMEDIATES
from authz.directory.databases import database_of
from authz.directory.queries import distinct_names
from authz.directory.texts import refuse_nul
from authz.errors import StoreError

if TYPE_CHECKING:
    from authz.pki import Crl, CrlStore, Name

P = ParamSpec("P")
T = TypeVar("T")


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
        self._database = database_of(url)
        self._database.check()
        self._engine, self._reader = self._database.open_writer(), self._database.open_reader()
        refuse_nul(self._engine)
        refuse_nul(self._reader)

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
            raise self._database.explained(error.orig or error) from error

    # The query that has the name of its module stands last: from there on the name is the query's.

    organization = _query(organizations.get_organization)
    organizations = _list(organizations.list_organizations)
    anchors = _list(ANCHORS.list)
    intermediates = _list(INTERMEDIATES.list)
    registration = _query(registrations.get_registration)
    registered_elsewhere = _query(registrations.registered_elsewhere)
    crl_sources = _query(crls.list_crl_sources)
    decisions = _list(decision_rows.list_decisions)
    decision = _query(decision_rows.get_decision)

    def crl_store(self) -> CrlStore:
        """All CRLs, as the validator wants them, each read when its issuer is asked for, from the open directory.

        One that cannot be read is left out, as the service does.
        """

        def of(issuer: Name) -> list[Crl]:
            with self.reading() as connection:
                return crls.readable_crls(connection, names[issuer])

        with self.reading() as connection:
            names = distinct_names(connection, schema.crls.c.issuer)
            return pki.LazyCrlStore(names, of, crls.readable_crls(connection, None))
