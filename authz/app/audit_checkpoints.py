"""The audit log's checkpoint in the service's own log, each hour: where a change of the directory cannot reach it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from authz.directory import DirectoryReader
from authz.errors import Refused

EVERY_SECONDS: Final = 3_600.0


async def log_checkpoints(directory: DirectoryReader, say: Callable[..., None]) -> None:
    """Log size and head of the audit log now, and each hour, until cancelled; an hour without a directory is left out.

    `say` takes the event's name, and its fields by name.
    """
    while True:
        with suppress(Refused):
            checkpoint = await directory.audit_checkpoint()
            if checkpoint is not None:
                say("audit_checkpoint", origin=checkpoint.origin, size=checkpoint.size, head=checkpoint.head)
        await asyncio.sleep(EVERY_SECONDS)
