"""The operator's files and folders of CRLs: looked at again and again, and tried when they are others than before."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from authz.crl_source import folder
from authz.crl_source.source import Source
from authz.crl_source.sources import Sources

PATIENCE_SECONDS: Final = 1.0
"""How long a look is waited for: a network file system whose server is away answers nothing, for hours."""

Found = dict[Path, folder.Stamp | None]


class Files:
    """The files below `paths`, as sources; `gone` is told of one that is there no more, `warn` of a path that hangs.

    Made inside the event loop. Each path is looked at in a thread of its own, so that one that hangs holds up no
    other; what was found there before stays. `looked` says whether all were looked at once.
    """

    def __init__(
        self, paths: Sequence[Path], sources: Sources, gone: Callable[[Source], None], warn: Callable[[str], None]
    ) -> None:
        self._paths = paths
        self._sources = sources
        self._gone = gone
        self._warn = warn
        self._looks: dict[Path, asyncio.Future[Found]] = {}
        self._late: set[Path] = set()
        self._found: dict[Path, Found] = {}
        self._stamps: Found = {}

    @property
    def looked(self) -> bool:
        """Whether each path was looked at once."""
        return len(self._found) == len(set(self._paths))

    async def look(self, now: Callable[[], datetime]) -> None:
        """What changed since the last look is due."""
        begun = [self._begin(path) for path in self._paths if path not in self._looks]
        if begun:
            await asyncio.wait(begun, timeout=PATIENCE_SECONDS)
        for path in list(self._looks):
            self._take(path)
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

    def _begin(self, path: Path) -> asyncio.Future[Found]:
        self._looks[path] = look = asyncio.get_running_loop().create_future()
        # Not one of a pool, which would be full of those that hang, and waited for at the end.
        threading.Thread(target=_look_at, args=(path, look), name=f"look at {path}", daemon=True).start()
        return look

    def _take(self, path: Path) -> None:
        look = self._looks[path]
        if look.done():
            del self._looks[path]
            self._late.discard(path)
            self._found[path] = look.result()
        elif path not in self._late:
            self._late.add(path)
            self._warn(f"{path} does not answer: the CRLs in it are not read anew until it does")


def _look_at(path: Path, look: asyncio.Future[Found]) -> None:
    """In a thread of its own."""
    found: Found | Exception
    try:
        found = folder.scan([path])
    except Exception as error:  # noqa: BLE001 - told to whoever waits
        found = error

    def tell() -> None:
        if look.done():  # nobody waits any more
            return
        if isinstance(found, Exception):
            look.set_exception(found)
        else:
            look.set_result(found)

    with contextlib.suppress(RuntimeError):  # the loop has ended
        look.get_loop().call_soon_threadsafe(tell)
