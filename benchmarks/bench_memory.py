"""What many tenants cost each other: known checks of 1,500 tenants in turns beside those of 500, in one run.

Each tenant has an organization, a CA with a CRL, a user and a certificate of its own; every row is read from SQLite.
All that is remembered shares the bound of a worker as it is by default. What is compared takes turns; CPU, by rusage.
Then one tenant floods with leaves that are all good, and the others are to lose nothing.

Fails beyond `BOUND`.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.certificates import NOW, Authority
from support.decision_world import request
from support.directory import DirectoryStore

from authz.app.config import Settings
from authz.app.crls import CrlSnapshot
from authz.clock import SystemClock
from authz.decision import Allow
from authz.directory import DirectoryReader
from authz.directory.cache import tenants_memory
from authz.directory.sqlite.migrate import migrate
from authz.identity.header import UserNameHeader
from authz.model import CheckRequest, Enforcement, Organization
from authz.pki import Certificate, Crl, CrlStore
from authz.pki.cache import SharedCache
from authz.service import Service, ServiceLimits
from authz.supervision.worker import settle
from authz.view import Listener

TENANTS = 1_500
FEW = 500
ROUNDS = 9
FLOOD = 3_000
ROOM = 8 * 1024 * 1024
"""What the flood finds free: a quarter of what it brings."""
BOUND = 1.2
FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - three transactions a tenant
DOOR = Listener("bench", (UserNameHeader("x-user"),))
NAMED = ((b"x-user", b"alice"),)


class Clock(SystemClock):
    """The moment at which all that was minted is good."""

    def now(self) -> datetime:
        """See `authz.ports.Clock`."""
        return NOW


def cpu() -> float:
    """Microseconds of CPU that this process has used, every thread counted."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


async def turns(service: Service, asked: list[CheckRequest]) -> float:
    """Microseconds for one check of each."""
    before = cpu()
    for number, one in enumerate(asked):
        if number % 50 == 0:
            await asyncio.sleep(0)  # the reader confirms its revision
        decision = await service.check(one, DOOR)
        assert isinstance(decision, Allow), (decision.reason, decision.detail)
    return (cpu() - before) / len(asked)


async def compare(service: Service, asked: list[CheckRequest]) -> float:
    """What a check costs among all tenants, as a multiple of what it costs among a few."""
    found: dict[int, list[float]] = {FEW: [], TENANTS: []}
    await turns(service, asked)
    settle()
    for _ in range(ROUNDS):
        for many, costs in found.items():
            await asyncio.sleep(0.3)  # on a busy machine the reader's thread gets no turn otherwise
            await turns(service, asked[:many])
            costs.append(await turns(service, asked[:many]))
    few, all_of_them = (statistics.median(costs) for costs in found.values())
    print(f"known check, {FEW} tenants in turns   {few:7.1f} us")
    print(f"known check, {TENANTS} tenants in turns {all_of_them:6.1f} us  {all_of_them / few:5.2f} x")
    return all_of_them / few


async def flood(service: Service, memory: SharedCache, loud: Authority) -> int:
    """Entries of the others that a tenant with endless leaves drives out."""
    memory.max_bytes = memory.weight + ROOM
    quiet = [tenant for owner, tenant in memory.tenants.items() if owner != 1]
    before = sum(len(cache) for tenant in quiet for cache in tenant.caches)
    key = loud.leaf("key").key
    for number in range(FLOOD):
        if number % 50 == 0:
            await asyncio.sleep(0)
        leaf = loud.leaf(f"leaf{number}", key=key)
        assert isinstance(await service.check(request(leaf, host="t0.test", headers=NAMED), DOOR), Allow)
    lost = before - sum(len(cache) for tenant in quiet for cache in tenant.caches)
    megabytes = memory.weight / (1 << 20)
    print(f"after {FLOOD} leaves of one tenant  {megabytes:6.0f} MiB remembered, {lost} entries of the others lost")
    return lost


async def main_() -> int:
    """Everything; 1 where a bound is broken."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        settings = Settings(database=f"sqlite:///{folder}/authz.db")
        migrate(settings.database)
        store = DirectoryStore(settings.database)
        roots = [Authority.root(f"Root {number}") for number in range(TENANTS)]
        for number, root in enumerate(roots):
            name = f"t{number}"
            store.add_organization(Organization(0, name, (f"{name}.test",)))
            store.add_anchors(name, [Certificate.parse(root.der)])
            store.add_user(name, "alice", Enforcement.OFF)
        store.close()
        asked = [request(one.leaf(), host=f"t{at}.test", headers=NAMED) for at, one in enumerate(roots)]
        memory = tenants_memory(settings.limits.cache_bytes)
        crls = CrlSnapshot(settings, CrlStore(Crl(one.crl()) for one in roots))
        clock = Clock()
        reader = DirectoryReader(settings.database, crls, monotonic=clock.monotonic, warn=print, memory=memory)
        await reader.start()
        service = Service(reader, clock, limits=ServiceLimits(seconds=30))
        ratio = await compare(service, asked)
        lost = await flood(service, memory, roots[0])
        await reader.close()
    return int(ratio > BOUND or lost > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main_()))
