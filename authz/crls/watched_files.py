"""The operator's files and folders of CRLs: looked at again and again, and tried when they are others than before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from authz.blocking_calls import run_in_daemon_thread
from authz.crls import folder
from authz.crls.source import Source
from authz.crls.sources import Sources

PATIENCE_SECONDS: Final = 1.0
"""How long whoever looks waits: a network file system whose server is away answers nothing, for hours."""


class Files:
    """The files below `paths`, as sources; `gone` is told of one that is there no more, `warn` of a look that hangs.

    Such a look holds up no source of another kind: it goes on by itself, no other is begun, and what was found
    before stays. `looked` says whether all were looked at once.
    """

    def __init__(
        self, paths: Sequence[Path], sources: Sources, gone: Callable[[Source], None], warn: Callable[[str], None]
    ) -> None:
        self._paths = paths
        self._sources = sources
        self._gone = gone
        self._warn = warn
        self._look: asyncio.Future[dict[Path, folder.Stamp | None]] | None = None
        self._late = False
        self._stamps: dict[Path, folder.Stamp | None] = {}
        self.looked = not paths

    async def look(self, now: Callable[[], datetime]) -> None:
        """What changed since the last look is due."""
        if not self._paths:
            return
        if self._look is None:
            self._look = run_in_daemon_thread(partial(folder.scan, self._paths), "look for CRLs")
        if not self._late:
            await asyncio.wait({self._look}, timeout=PATIENCE_SECONDS)
        if not self._look.done():
            self._tell()
            return
        look, self._look, self._late = self._look, None, False
        self._take(look.result(), now)

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._look is not None:
            self._look.cancel()

    def _tell(self) -> None:
        if not self._late:
            self._late = True
            places = ", ".join(map(str, self._paths[:9]))
            self._warn(f"a file or folder of CRLs does not answer, none is read until it does: one of {places}")

    def _take(self, found: dict[Path, folder.Stamp | None], now: Callable[[], datetime]) -> None:
        for path, stamp in found.items():
            if self._stamps.get(path, ()) != stamp:
                self._sources.file(path).next_at = now()
        for path in self._stamps.keys() - found.keys():
            source = self._sources.file(path)
            self._sources.remove(source)
            self._gone(source)
        self._stamps = found
        self.looked = True
