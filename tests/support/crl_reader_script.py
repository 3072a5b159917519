"""Reads a folder of kept CRLs as a service that starts does, and is ended by one of them: a process to be watched.

`crl_reader.py FOLDER CA DEADLY HOW`: the reader of the copy with the SHA-256 DEADLY (in hex) is killed, or ends in
order (HOW is `kill` or `order`). Prints a line for each copy read, each held at the end, and each warning.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from authz.crls.disk_store import CrlDiskStore
from authz.crls.indexing.client import index_crl
from authz.crls.store import CrlRegistry
from authz.pki import Crl
from support.kept_crls import read_kept
from support.process_kill import tell


async def main(folder: Path, ca: Path, deadly: str, how: str) -> None:
    """Read everything."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)  # type: ignore[union-attr]

    async def index(source: Path | int, keys: Collection[bytes]) -> Crl:
        assert isinstance(source, Path)
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        tell(f"read {sha256}")
        if sha256 == deadly:
            os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGTERM)
            await asyncio.sleep(9)
        return await index_crl(source, keys)

    async def authorities() -> list[bytes]:
        return [ca.read_bytes()]

    registry = CrlRegistry(CrlDiskStore(folder), index, lambda warning: tell(f"warning {warning}"))
    await read_kept(registry, authorities, datetime.now(UTC))
    for one in registry:
        tell(f"held {one.crl.sha256.hex()}")


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
