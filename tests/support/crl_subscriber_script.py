"""Keeps the CRL of one URL fresh as fast as it can, to be killed by `support.process_kill`; its argument is the URL.

It is the service's own keeper of CRLs: it fetches, verifies, accepts and installs, and finds what was kept.
"""

from __future__ import annotations

import asyncio
import ipaddress
from datetime import timedelta
from pathlib import Path

from authz.clock import SystemClock
from authz.crls.disk_store import CrlDiskStore
from authz.crls.fetch.address_rules import AddressRules
from authz.crls.fetch.client import Fetcher
from authz.crls.indexing.client import index_crl
from authz.crls.refresher import Refresher
from authz.crls.rules import CrlRules
from authz.crls.schedule import Schedule
from authz.model import CrlRow
from support.process_kill import serve, tell

MOMENT = timedelta(milliseconds=1)
CA = "ca.der"
"""The file, beside the folder of copies, with the certificate of the CA."""


class Directory:
    """Knows one CA and no CRL."""

    def __init__(self, ca: Path) -> None:
        self._ca = ca
        self.revision = 0

    async def authorities(self) -> list[bytes]:
        """See `authz.crls.refresher.Rows`."""
        return [self._ca.read_bytes()]

    async def active(self) -> tuple[object, list[int]]:
        """Likewise."""
        return 0, []

    async def listed(self) -> list[CrlRow]:
        """Likewise."""
        return []

    async def der(self, sha256: bytes) -> bytes | None:
        """Likewise."""
        raise AssertionError(sha256)


async def follow(folder: Path, url: str) -> None:
    """Tell the number of each CRL once it is installed."""
    refresher = Refresher(
        CrlRules(urls=(url,), schedule=Schedule(MOMENT, MOMENT, MOMENT, 0)),
        CrlDiskStore(folder),
        Fetcher(addresses=AddressRules((ipaddress.ip_network("127.0.0.0/8"),))),
        clock=SystemClock(),
        index=index_crl,
        warn=lambda message: tell(f"warning: {message}"),
        tick=0.001,
    )
    await refresher.start(Directory(folder.with_name(CA)))
    last: str | None = None
    while True:
        for one in refresher.fetched:
            if one.number != last:
                last = one.number
                tell(str(last))
        await asyncio.sleep(0)


if __name__ == "__main__":
    serve(lambda folder, url: asyncio.run(follow(folder, url)))
