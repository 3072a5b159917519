"""PostgreSQL as the directory's database: one of a server, or of a cluster with a primary."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa

from authz.directory.database import Database, Progress, SchemaVersion
from authz.directory.postgresql.engine import READ, REPORT, WRITE, Connector, listing
from authz.directory.postgresql.errors import explained
from authz.directory.postgresql.grants import ROLES, grant, make_roles
from authz.directory.postgresql.migrate import migrate
from authz.directory.postgresql.parameters import parameters_of, place_of
from authz.directory.postgresql.primary_watcher import PrimaryWatcher
from authz.errors import StoreError

PRUNING: Final = 0x7072756E
REPLICAS: Final = 0x7265706C
"""Keys of advisory locks: of the transaction that prunes the history; of the replicas, by number."""

SERVICE_SECONDS: Final = "10s"
"""How long one statement of the service may take: nothing waits for its answer any more."""


class PostgresqlDatabase(Database):
    """The database at a URL of PostgreSQL, which nothing connects to yet. Raises `ConfigError` as `parameters_of`."""

    def __init__(self, url: str) -> None:
        parameters = parameters_of(url)
        self.name = place_of(parameters)
        self._connector = Connector(parameters)

    def open_reader(self) -> sa.Engine:
        """See `Database`."""
        return listing(self._connector.open(READ))

    def open_writer(self) -> sa.Engine:
        """See `Database`; one that is left open in a shell would stop all others."""
        return self._connector.open(WRITE, idle_in_transaction_session_timeout="60s")

    def open_reporter(self) -> sa.Engine:
        """See `Database`."""
        return self._connector.open(REPORT, statement_timeout=SERVICE_SECONDS)

    def watch(self) -> PrimaryWatcher:
        """See `Database`."""
        return PrimaryWatcher(self._connector.open(READ, statement_timeout=SERVICE_SECONDS, lock_timeout="1s"))

    def version(self) -> SchemaVersion | None:
        """See `Database`."""
        with self._transaction() as connection:
            if connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar() is None:
                return None
            return SchemaVersion(*connection.exec_driver_sql("SELECT version_num, oldest FROM alembic_version").one())

    def migrate(self, progress: Progress = lambda _: None) -> None:  # noqa: ARG002 - no earlier version left any
        """See `Database`."""
        engine = self._connector.open(REPORT)
        try:
            migrate(engine)
        except sa.exc.DBAPIError as error:
            raise self.explained(error.orig or error) from error
        finally:
            engine.dispose()

    def grant(self) -> list[str]:
        """See `Database`."""
        with self._transaction() as connection:
            make_roles(connection)
            grant(connection)
        return list(ROLES)

    def explained(self, error: BaseException) -> StoreError:
        """See `Database`."""
        return explained(self.name, error)

    def interrupt(self) -> None:
        """See `Database`."""
        self._connector.interrupt()

    def may_prune(self, connection: sa.Connection) -> bool:
        """See `Database`."""
        return bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({PRUNING})").scalar())

    def join(self, connection: sa.Connection, replica: int) -> bool:
        """See `Database`: a lock that the session holds until it ends, whatever ends it."""
        if connection.execute(_OWN_LOCKS, {"key": REPLICAS}).scalar():
            return False
        connection.execute(sa.select(sa.func.pg_advisory_lock(REPLICAS, replica)))
        return True

    def replicas(self, connection: sa.Connection) -> Collection[int]:
        """See `Database`."""
        return set(connection.execute(_LOCKS, {"key": REPLICAS}).scalars())

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        engine = self._connector.open(REPORT)
        try:
            with engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise self.explained(error.orig or error) from error
        finally:
            engine.dispose()


_LOCKS: Final = sa.text(
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = :key AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_OWN_LOCKS: Final = sa.text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :key AND objsubid = 2 "
    "AND pid = pg_backend_pid()"
)
