"""The CRLs that were kept, read as a service that starts reads them."""

from __future__ import annotations

from datetime import datetime

from authz.crls.store import Authorities, CrlRegistry


async def read_kept(registry: CrlRegistry, authorities: Authorities, now: datetime) -> None:
    """Look through the folder, then read all of it."""
    await registry.look_through(now)
    await registry.read(authorities, now)
