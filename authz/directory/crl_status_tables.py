"""The state of the sources of CRLs, which the service reports to operators, and their requests: no revision."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa

from authz.directory.database import READ_ERRORS, insert_of
from authz.directory.databases import database_of
from authz.directory.interrupted import CLOSE_SECONDS, WRITE_SECONDS, interrupted_after, interrupted_every
from authz.directory.schema import crl_sources, fetched_crls, renumbered_sources
from authz.model import CrlSourceState, FetchedCrl

T = TypeVar("T")
S = TypeVar("S", CrlSourceState, FetchedCrl)


class CrlStatusTables:
    """Implements `authz.crls.refresher.Ledger` in the directory at `url`.

    `warn` is called when the directory cannot be written or read, once until it can be again.
    """

    def __init__(self, url: str, *, warn: Callable[[str], None]) -> None:
        self._database = database_of(url)
        self._engine = self._database.open_reporter()
        self._reader = self._database.watch()
        self._replica = random.getrandbits(31)
        self._thread = ThreadPoolExecutor(1, "crl ledger")
        self._sources: dict[str, CrlSourceState] | None = None
        self._crls: dict[str, FetchedCrl] | None = None
        self.renumbered: Mapping[str, datetime] = {}
        self._warn = warn
        self._failing = False
        self._closed = False

    async def close(self) -> None:
        """Give the database back when the last write has ended; another call changes nothing."""
        if self._closed:
            return
        self._closed = True
        with interrupted_every(CLOSE_SECONDS, self._database.interrupt):
            await self._in_thread(self._reader.close, None)
        self._thread.shutdown(wait=False)
        self._engine.dispose()

    async def write(self, sources: Collection[CrlSourceState], crls: Collection[FetchedCrl]) -> None:
        """See the protocol."""
        await self._in_thread(lambda: self._write(sources, crls), None)

    async def asked(self) -> list[str]:
        """See the protocol."""
        return await self._in_thread(self._asked, [])

    async def _in_thread(self, action: Callable[[], T], otherwise: T) -> T:
        result = asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, action, otherwise)
        return await interrupted_after(WRITE_SECONDS, self._database.interrupt, result)

    def _guarded(self, action: Callable[[], T], otherwise: T) -> T:
        try:
            result = action()
        except READ_ERRORS as error:
            if not self._failing:
                self._warn(f"the state of the CRLs cannot be reported: {getattr(error, 'orig', None) or error}")
            self._failing = True
            return otherwise
        self._failing = False
        return result

    def _write(self, sources: Collection[CrlSourceState], crls: Collection[FetchedCrl]) -> None:
        """Only what is not as it was written last: there may be thousands of sources, of which one was tried."""
        now = {source.location: source for source in sources}, {crl.name: crl for crl in crls}
        with self._engine.begin() as connection:
            if self._database.join(connection, self._replica):
                # Others took this replica for one that had ended.
                self._sources = self._crls = None
            working = {self._replica, *self._database.replicas(connection)}
            for table in (crl_sources, fetched_crls):
                connection.execute(sa.delete(table).where(table.c.replica.not_in(working)))
            _bring(connection, self._replica, crl_sources.c.location, now[0], self._sources)
            _bring(connection, self._replica, fetched_crls.c.name, now[1], self._crls)
        self._sources, self._crls = now

    def _asked(self) -> list[str]:
        with self._reader.connected() as connection, connection.begin():
            self.renumbered = {row.location: row.until for row in connection.execute(sa.select(renumbered_sources))}
            return list(connection.execute(_ASKED, {"replica": self._replica}).scalars())


_LATER = crl_sources.c.tried_at.is_(None) | (crl_sources.c.asked_at > crl_sources.c.tried_at)
_ASKED = (
    sa.select(crl_sources.c.location)
    .where(crl_sources.c.replica == sa.bindparam("replica"), crl_sources.c.asked_at.is_not(None), _LATER)
    .order_by(crl_sources.c.location)
)


def _bring(
    connection: sa.Connection, replica: int, key: sa.Column[str], now: dict[str, S], before: dict[str, S] | None
) -> None:
    """Make the replica's rows in the table of `key` say what there is now."""
    table = key.table
    own = sa.delete(table).where(table.c.replica == replica)
    if before is None:
        connection.execute(own)
        before = {}
    gone = before.keys() - now.keys()
    if gone:
        connection.execute(own.where(key.in_(gone)))
    rows = [{"replica": replica, **asdict(state)} for name, state in now.items() if before.get(name) != state]
    if rows:
        statement = insert_of(connection)(table).values({name: sa.bindparam(name) for name in rows[0]})
        values = {name: statement.excluded[name] for name in rows[0]}
        connection.execute(statement.on_conflict_do_update(index_elements=[table.c.replica, key], set_=values), rows)
