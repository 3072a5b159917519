"""Keeps the report of the directory for the metrics: read every minute, in a thread, so that no scrape reads rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from authz.app.config import Settings
from authz.blocking_calls import run_in_daemon_thread
from authz.directory.database import READ_ERRORS
from authz.directory.databases import database_of
from authz.directory.report import ReportReader
from authz.errors import Refused
from authz.model import DirectoryReport, Expiring
from authz.pki import Certificate
from authz.pki.x509.library import pem_blocks
from authz.ports import Clock

EVERY_SECONDS: Final = 60.0
"""How old a report is at most, while it is read quickly."""

SHARE: Final = 30
"""Reading takes at most one part in so many of the time: a history of a million decisions takes a second or two."""


class DirectoryReports:
    """Implements `authz.telemetry.WatchedDirectory`. Made inside the event loop; `warn` reports what cannot be read."""

    def __init__(self, settings: Settings, clock: Clock, *, warn: Callable[[str], None]) -> None:
        self.report = DirectoryReport()
        self._settings = settings
        self._engine = database_of(settings.database).open_reader()
        self._reader = ReportReader()
        self._clock = clock
        self._warn = warn
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._run(), name="directory reports")

    async def close(self) -> None:
        """Stop; a read that hangs is not waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._engine.dispose()

    async def _run(self) -> None:
        while True:
            started = self._clock.monotonic()
            await self.refresh()
            took = self._clock.monotonic() - started
            await asyncio.sleep(max(EVERY_SECONDS, SHARE * took))

    async def refresh(self) -> None:
        """Read once; what cannot be read leaves the last report as it is."""
        report = await run_in_daemon_thread(self._read, "directory report")
        self.report = report or self.report
        if report is None and not self._failing:
            self._warn("the directory cannot be read for the metrics of what expires: the last ones stay")
        self._failing = report is None

    def _read(self) -> DirectoryReport | None:
        now = self._clock.now()
        try:
            with self._engine.begin() as connection:
                report = self._reader.read(connection, now)
        except READ_ERRORS:
            return None
        end = own_tls_end(self._settings, now)
        return report if end is None else replace(report, ends={**report.ends, (Expiring.OWN_TLS, ""): end})


def own_tls_end(settings: Settings, now: datetime) -> datetime | None:
    """When the first certificate of the service's own TLS ends; of the CAs, those that have ended do not count."""
    ends = [(end, own) for path, own in own_tls_files(settings) for end in tls_ends(path)]
    return min((end for end, own in ends if own or end >= now), default=None)


def own_tls_files(settings: Settings) -> Iterator[tuple[Path, bool]]:
    """The files of certificates of the service's own TLS; and whether it is its own certificate, and not CAs."""
    sections = [settings.ops.tls, *(listener.tls for listener in settings.listener)]
    for section in sections:
        if section is not None:
            yield section.certificate, True
            yield section.client_ca, False
    for listener in settings.listener:
        yield from ((proxy.anchors, False) for proxy in listener.trusted_proxies)


def tls_ends(path: Path) -> list[datetime]:
    """When the certificates in a file end; none where it cannot be read, which its listener reports."""
    try:
        return [Certificate.parse(der).not_after for der in pem_blocks(path.read_bytes(), b"CERTIFICATE")]
    except (OSError, ValueError, Refused):
        return []
