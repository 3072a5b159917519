"""The state of the sources of CRLs, which the service reports to operators, and their requests: no revision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from authz.directory.schema import crl_sources, fetched_crls
from authz.directory.sqlite.change_watcher import READ_ERRORS, WatchedConnection
from authz.directory.sqlite.engine import open_engine
from authz.model import CrlSourceState, FetchedCrl

T = TypeVar("T")
S = TypeVar("S", CrlSourceState, FetchedCrl)


class CrlStatusTables:
    """Implements `authz.crls.refresher.Ledger` in the directory at `url`.

    `warn` is called when the directory cannot be written or read, once until it can be again.
    """

    def __init__(self, url: str, *, warn: Callable[[str], None]) -> None:
        self._writer = open_engine(url)
        self._reader = WatchedConnection(url)
        self._thread = ThreadPoolExecutor(1, "crl ledger")
        self._seen: tuple[int, int] | None = None
        self._last: list[str] = []
        self._sources: dict[str, CrlSourceState] | None = None
        self._crls: dict[str, FetchedCrl] | None = None
        self._warn = warn
        self._failing = False
        self._closed = False

    async def close(self) -> None:
        """Give the database back when the last write has ended; another call changes nothing."""
        if self._closed:
            return
        self._closed = True
        await self._in_thread(self._reader.close, None)
        self._thread.shutdown(wait=False)
        self._writer.dispose()

    async def write(self, sources: Collection[CrlSourceState], crls: Collection[FetchedCrl]) -> None:
        """See the protocol."""
        await self._in_thread(lambda: self._write(sources, crls), None)

    async def asked(self) -> list[str]:
        """See the protocol."""
        return await self._in_thread(self._asked, [])

    async def _in_thread(self, action: Callable[[], T], otherwise: T) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, action, otherwise)

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
        with self._writer.begin() as connection:
            _bring(connection, crl_sources.c.location, now[0], self._sources)
            _bring(connection, fetched_crls.c.name, now[1], self._crls)
        self._sources, self._crls = now

    def _asked(self) -> list[str]:
        with self._reader.connected() as connection:
            version = self._reader.version(connection)
            if version != self._seen:
                with connection.begin():
                    self._last = list(connection.execute(_ASKED).scalars())
                self._seen = version
        return self._last


_LATER = crl_sources.c.tried_at.is_(None) | (crl_sources.c.asked_at > crl_sources.c.tried_at)
_ASKED = sa.select(crl_sources.c.location).where(crl_sources.c.asked_at.is_not(None) & _LATER)
_ASKED = _ASKED.order_by(crl_sources.c.location)


def _bring(connection: sa.Connection, key: sa.Column[str], now: dict[str, S], before: dict[str, S] | None) -> None:
    """Make the table of `key` say what there is now; what another run of the service wrote is not known, and goes."""
    if before is None:
        connection.execute(sa.delete(key.table))
        before = {}
    gone = before.keys() - now.keys()
    if gone:
        connection.execute(sa.delete(key.table).where(key.in_(gone)))
    rows = [asdict(state) for name, state in now.items() if before.get(name) != state]
    if rows:
        statement = insert(key.table).values({name: sa.bindparam(name) for name in rows[0]})
        values = {name: statement.excluded[name] for name in rows[0]}
        connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=values), rows)
