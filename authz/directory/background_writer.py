"""Writes into the directory what checks leave behind, beside them: in a thread, as often as its kind needs."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable

import sqlalchemy as sa

from authz.directory.databases import database_of
from authz.directory.interrupted import CLOSE_SECONDS, WRITE_SECONDS, interrupted_after, interrupted_every
from authz.model import CheckRequest
from authz.ports import Clock
from authz.view import Listener


class BackgroundWriter(ABC):
    """Calls `flush` every so many `seconds`, and as soon as `_full` is set, until it is closed.

    `lost` is called with the number of records dropped, `warn` once when `what` cannot be written any more, and why.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        what: str,
        seconds: float,
        lost: Callable[[int], None],
        warn: Callable[[str], None],
    ) -> None:
        self._database = database_of(url)
        self._engine = self._database.open_reporter()
        self._clock = clock
        self._what = what
        self._seconds = seconds
        self._lost = lost
        self._warn = warn
        self._failing = False
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    def failed(self, check: CheckRequest, listener: Listener, error: BaseException) -> None:  # noqa: B027
        """Nothing: a failure inside is no decision about the request."""

    def start(self) -> None:
        """Begin to write what gathers."""
        self._task = asyncio.create_task(self._run(), name=self._what)

    async def close(self) -> None:
        """Write what is left, and give the database back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with interrupted_every(CLOSE_SECONDS, self._database.interrupt):
            await self.flush()
        self._engine.dispose()

    async def _run(self) -> None:
        while True:
            # Not by `wait_for`, which in Python 3.11 may swallow the cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._full.wait()
            # A cancelled task must not leave a batch half accounted for.
            await asyncio.shield(self.flush())

    @abstractmethod
    async def flush(self) -> None:
        """Write everything that has gathered; what cannot be written is lost, and counted."""

    async def _attempt(self, write: Callable[[], None]) -> Exception | None:
        """What kept `write`, a transaction in a thread, from being done; None if nothing did."""
        try:
            await interrupted_after(WRITE_SECONDS, self._database.interrupt, asyncio.to_thread(write))
        except (sa.exc.SQLAlchemyError, OSError, ValueError) as error:
            if not self._failing:
                self._warn(f"{self._what} cannot be written: {getattr(error, 'orig', None) or error}")
            self._failing = True
            return error
        self._failing = False
        return None
