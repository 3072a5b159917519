"""The operator's files and folders of CRLs: looked at again and again, and tried when they are others than before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from authz.crl_source import folder
from authz.crl_source.apart import apart
from authz.crl_source.source import Source
from authz.crl_source.sources import Sources

PATIENCE_SECONDS: Final = 1.0
"""How long nothing may come of the looks that go on, before they are left to themselves."""

MAX_LOOKS: Final = 16
"""Looks at a time, those left to themselves among them: each is a thread."""

Found = dict[Path, folder.Stamp | None]


class Files:
    """The files below `paths`, as sources; `gone` is told of one that is there no more, `warn` of a path that hangs.

    Each folder is looked at apart, and so are the files of one: what hangs holds up no other. What was found there
    before stays.
    """

    def __init__(
        self, paths: Sequence[Path], sources: Sources, gone: Callable[[Source], None], warn: Callable[[str], None]
    ) -> None:
        self._paths = list(dict.fromkeys(paths))
        self._sources = sources
        self._gone = gone
        self._warn = warn
        self._looks: dict[tuple[Path, ...], asyncio.Future[dict[Path, Found]]] = {}
        self._late: set[tuple[Path, ...]] = set()
        self._found: dict[Path, Found] = {}
        self._stamps: Found = {}

    @property
    def looked(self) -> bool:
        """Whether each path was looked at once."""
        return len(self._found) == len(self._paths)

    async def look(self, now: Callable[[], datetime]) -> None:
        """What changed since the last look is due."""
        await self._look()
        stamps = {path: stamp for one in self._paths for path, stamp in self._found.get(one, {}).items()}
        for path, stamp in stamps.items():
            if self._stamps.get(path, ()) != stamp:
                self._sources.file(path).next_at = now()
        for path in self._stamps.keys() - stamps.keys():
            source = self._sources.file(path)
            self._sources.remove(source)
            self._gone(source)
        self._stamps = stamps

    def close(self) -> None:
        """Wait for nothing any more."""
        for one in self._looks.values():
            one.cancel()

    async def _look(self) -> None:
        for group in list(self._looks):  # left to themselves, or by a look that was ended itself
            self._take(group)
        waiting = self._groups()
        going: list[tuple[Path, ...]] = []
        while True:
            while waiting and len(self._looks) < MAX_LOOKS:
                going.append(waiting.pop())
                self._begin(going[-1])
            if not going:
                return
            looks = [self._looks[one] for one in going]
            done, _ = await asyncio.wait(looks, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            going = [one for one in going if not self._take(one)]
        for group in going:
            self._late.add(group)
            places = ", ".join(map(str, group[:3]))
            self._warn(f"nothing answers at {places}: CRLs are not read from there until it does")

    def _groups(self) -> list[tuple[Path, ...]]:
        """What is to be looked at together: files of one folder; what was never looked at, or is a folder, alone."""
        busy = {path for group in self._looks for path in group}
        groups: dict[tuple[Path, bool], list[Path]] = {}
        for path in self._paths:
            if path not in busy:
                alone = self._found.get(path, {}).keys() != {path}
                groups.setdefault((path if alone else path.parent, alone), []).append(path)
        return list(map(tuple, groups.values()))

    def _begin(self, group: tuple[Path, ...]) -> None:
        self._looks[group] = apart(partial(_look_at, group), f"look at {group[0]}")

    def _take(self, group: tuple[Path, ...]) -> bool:
        """Whether the look has come to its end. Raises what it was ended by."""
        if not self._looks[group].done():
            return False
        self._late.discard(group)
        self._found.update(self._looks.pop(group).result())
        return True


def _look_at(group: tuple[Path, ...]) -> dict[Path, Found]:
    return {path: folder.scan([path]) for path in group}
