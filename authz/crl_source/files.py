"""The operator's files and folders of CRLs: looked at again and again, and tried when they are others than before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from authz.crl_source import folder
from authz.crl_source.source import Source
from authz.crl_source.sources import Sources


class Files:
    """The files below `paths`, as sources; `gone` is told of one that is there no more.

    `looked` says whether all were looked at once.
    """

    def __init__(self, paths: Sequence[Path], sources: Sources, gone: Callable[[Source], None]) -> None:
        self._paths = paths
        self._sources = sources
        self._gone = gone
        self._stamps: dict[Path, folder.Stamp | None] = {}
        self.looked = not paths

    async def look(self, now: Callable[[], datetime]) -> None:
        """What changed since the last look is due."""
        if not self._paths:
            return
        found = await asyncio.to_thread(folder.scan, self._paths)
        for path, stamp in found.items():
            if self._stamps.get(path, ()) != stamp:
                self._sources.file(path).next_at = now()
        for path in self._stamps.keys() - found.keys():
            source = self._sources.file(path)
            self._sources.remove(source)
            self._gone(source)
        self._stamps = found
        self.looked = True
