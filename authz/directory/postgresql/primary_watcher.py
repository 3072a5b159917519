"""One connection to the primary that stays open between reads, and notices when another server answers."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable
from typing import Final

import sqlalchemy as sa

from authz.directory.database import ChangeWatcher
from authz.directory.postgresql.engine import READ
from authz.directory.prepared import prepared
from authz.directory.schema import directory_state

STATE: Final = sa.select(directory_state.c.revision, directory_state.c.lineage)

# Not `pg_control_checkpoint`, which has the timeline of the last checkpoint, and that is perhaps from before.
IDENTITY: Final = """
    SELECT system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system()
"""
"""The database cluster, and its timeline: a standby that is promoted begins another one."""


class EarlierTimelineError(OSError):
    """A server of the same cluster says that it is the primary, and another has taken over from it."""


class PrimaryWatcher(ChangeWatcher):
    """A connection of `engine`; `replaced` is whether it leads to another cluster or timeline than the one before."""

    begin = READ[0]

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__()
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._identity: tuple[object, ...] | None = None
        self._made = 0

    def version(self, connection: sa.Connection) -> Hashable:
        """See `ChangeWatcher`: the state's name, and the connection's number."""
        return self._made, *prepared(STATE, connection.dialect).rows(connection)[0]

    def logs_utf8(self, connection: sa.Connection) -> bool:  # noqa: ARG002 - the triggers convert them
        """See `ChangeWatcher`."""
        return True

    def close(self) -> None:
        """Give the connection back, which is not used again: it may have failed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError, OSError):
                connection.invalidate()
                connection.close()

    def _connect(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            with self._connection.begin():
                identity = tuple(self._connection.exec_driver_sql(IDENTITY).one())
            self._check(identity)
            self.replaced = self.replaced or self._identity not in {None, identity}
            self._identity = identity
            self._made += 1
        return self._connection

    def _check(self, identity: tuple[object, ...]) -> None:
        """Raise `EarlierTimelineError` for a primary that was replaced and came back: what it says is outdated."""
        cluster, timeline = self._identity or identity
        if identity[0] == cluster and str(identity[1]) < str(timeline):
            raise EarlierTimelineError(f"timeline {identity[1]} is before {timeline}")
