"""What the directory's size costs, and changes beside checks: a small and a big one, as ratios in one run.

`python benchmarks/bench_directory.py [DIALECT] [ORGANIZATIONS] [USERS] [SECONDS] [RATE]`: sqlite, 10,000 organizations
of 100 users, 20 s and 2,000 checks/s by default; `sqlite 100 20 2 200` shows that it works. All is CPU of this process,
each beside a known check in the same loop, whose rows are at hand; latencies are from the moment a check was due.
`DIALECTS` has what is a dialect's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import multiprocessing.synchronize
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import uvloop
from support.certificates import NOW, Authority
from support.decision_world import request

from authz.decision import Allow
from authz.directory import DirectoryReader, Store
from authz.directory.sqlite.migrate import migrate
from authz.identity import UserNameHeader
from authz.model import CheckRequest, Organization, TokenSettings
from authz.pki import Crl, CrlStore, ModeOf
from authz.service import Service, ServiceLimits
from authz.view import Listener

ROOT = Authority.root()
CA = ROOT.intermediate()
LEAVES = [CA.leaf(f"leaf {number}") for number in range(100)]
HEADERS = [request(leaf, CA).values("x-forwarded-client-cert")[0] for leaf in LEAVES]
LISTENER = Listener("bench", (UserNameHeader("x-user"),))
CLIENTS = 2_000
CHANGES_EACH_SECOND = 10
AT_ONCE = 32
CHECKS = 2_000


class Clock:
    """The moment of the certificates, and a real counter."""

    monotonic = staticmethod(time.monotonic)

    def now(self) -> datetime:
        """The moment."""
        return NOW


class Crls:
    """The CRLs of the two CAs."""

    def __init__(self) -> None:
        self._store = CrlStore([Crl(ROOT.crl()), Crl(CA.crl())])

    def crls(self) -> CrlStore:
        """See `authz.ports.CrlView`."""
        return self._store

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See `authz.ports.CrlView`."""

    def directory_read(self, revision: Hashable) -> None:
        """See `authz.ports.CrlView`."""

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See `authz.ports.CrlView`."""


@dataclass(frozen=True)
class Directory:
    """A directory of some organizations with some users each; the first has `CLIENTS` as well.

    `sql` runs statements in one transaction; another dialect gives another.
    """

    url: str
    organizations: int
    users: int
    sql: Callable[[Iterable[tuple[str, Iterable[tuple[object, ...]]]]], None]

    def fill(self) -> None:
        """All rows, a few hundred organizations a transaction."""
        root, leaves = ROOT, [(leaf.sha256, leaf.der) for leaf in LEAVES]
        for start in range(1, self.organizations + 1, 200):
            owners = range(start, min(start + 200, self.organizations + 1))
            users = [(number, owner, name) for owner in owners for number, name in self._users(owner)]
            self.sql((
                (ORGANIZATION, ((owner, f"o{owner}", "i", f"a{owner}") for owner in owners)),
                ("INSERT INTO hosts (host, organization_id) VALUES (?, ?)",
                 ((f"h{owner}.test", owner) for owner in owners)),
                ("INSERT INTO anchors (organization_id, sha256, der) VALUES (?, ?, ?)",
                 ((owner, root.sha256, root.der) for owner in owners)),
                (USER, users),
                (REGISTRATION, ((owner, number, *leaves[number % 100], CA.der) for number, owner, _ in users)),
            ))  # fmt: skip

    def _users(self, owner: int) -> Iterator[tuple[int, str]]:
        base = owner * max(self.users, CLIENTS)
        for number in range(CLIENTS if owner == 1 else self.users):
            yield base + number, f"u{number}"

    def check(self, owner: int, number: int) -> CheckRequest:
        """The check of a user with the leaf that is registered for it."""
        identity = owner * max(self.users, CLIENTS) + number
        headers = ((b"x-user", b"u%d" % number), (b"x-forwarded-client-cert", HEADERS[identity % 100]))
        return CheckRequest("id", f"h{owner}.test", headers)


ORGANIZATION = (
    "INSERT INTO organizations (id, name, active, binding_scope, default_enforcement, token_user_claim, token_issuer, "
    "token_audience) VALUES (?, ?, true, 'user', 'required', 'sub', ?, ?)"
)
USER = "INSERT INTO users (id, organization_id, name, enforcement, active) VALUES (?, ?, ?, 'required', true)"
REGISTRATION = (
    "INSERT INTO registrations (organization_id, user_id, sha256, der, chain, label, created_at) "
    "VALUES (?, ?, ?, ?, ?, '', 0)"
)


def sqlite_directory(folder: Path, organizations: int, users: int) -> Directory:
    """One in SQLite."""
    path = folder / f"{organizations}.db"

    def sql(statements: Iterable[tuple[str, Iterable[tuple[object, ...]]]]) -> None:
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            for statement, rows in statements:
                connection.executemany(statement, rows)

    migrate(f"sqlite:///{path}")
    return Directory(f"sqlite:///{path}", organizations, users, sql)


DIALECTS = {"sqlite": sqlite_directory}


def cpu() -> float:
    """Microseconds of CPU that this process has used, every thread counted."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


@contextlib.asynccontextmanager
async def served(directory: Directory, *, patient: bool = True) -> AsyncIterator[tuple[Service, DirectoryReader]]:
    """A service that reads it; a patient one refuses nothing on a slow machine."""
    clock, limits = (lambda: 0.0, ServiceLimits(seconds=30)) if patient else (time.monotonic, ServiceLimits())
    reader = DirectoryReader(directory.url, Crls(), monotonic=clock, warn=print)
    await reader.start()
    yield Service(reader, Clock(), limits=limits), reader
    await reader.close()


async def each(service: Service, checks: list[CheckRequest]) -> float:
    """Microseconds of CPU a check, so many at once."""
    before = cpu()
    for start in range(0, len(checks), AT_ONCE):
        for decision in await asyncio.gather(
            *(service.check(one, LISTENER) for one in checks[start : start + AT_ONCE])
        ):
            assert isinstance(decision, Allow), decision
    return (cpu() - before) / len(checks)


async def users(directory: Directory) -> dict[str, float]:
    """Microseconds of a check: known, uniform over all users, and by Zipf's law over the organizations."""
    drawn = random.Random(20)  # noqa: S311 - chance that can be repeated
    everybody = range(2, directory.organizations + 1)
    shares = list(itertools.accumulate(1 / rank for rank in range(1, len(everybody) + 1)))
    zipf = drawn.choices(everybody, cum_weights=shares, k=2 * CHECKS)
    uniform = drawn.choices(everybody, k=CHECKS)
    found = {}
    async with served(directory) as (service, _):
        known = [directory.check(1, 0)] * CHECKS
        await each(service, known[:AT_ONCE])
        for what, owners in (("uniform", uniform), ("Zipf", zipf)):
            checks = [directory.check(owner, drawn.randrange(directory.users)) for owner in owners]
            await each(service, checks[: CHECKS // 2])
            before, cost, after = (
                await each(service, known),
                await each(service, checks[CHECKS // 2 :]),
                await each(service, known),
            )
            found["known"] = (before + after) / 2
            found[what] = cost / found["known"]
    return found


async def verbs(directory: Directory) -> dict[str, float]:
    """Milliseconds of CPU: a poll that finds a change, an organization and a CRL added."""
    store, found = Store(directory.url), {}
    async with served(directory) as (_, reader):
        polls = []
        for number in range(20):
            directory.sql(
                [("UPDATE users SET active = true WHERE id = ?", [(2 * max(directory.users, CLIENTS) + number,)])]
            )
            before = cpu()
            await reader._read(())  # noqa: SLF001 - what the poller calls
            polls.append(cpu() - before)
        found["poll"] = statistics.median(polls) / 1e3
    added = []
    for number in range(10):
        before = cpu()
        store.add_organization(
            Organization(0, f"new{number}", (f"new{number}.test",), token=TokenSettings("i", f"b{number}"))
        )
        added.append(cpu() - before)
    found["org add"] = statistics.median(added) / 1e3
    before = cpu()
    store.add_crl(Crl(CA.crl()), NOW)
    found["crl add"] = (cpu() - before) / 1e3
    store.close()
    return found


async def load(directory: Directory, seconds: float, rate: int) -> tuple[float, float, int]:
    """Checks due at fixed times: microseconds of CPU each, milliseconds of the 99th percentile, and those refused."""
    waits: list[float] = []
    refused = 0

    async def one(service: Service, number: int, due: float) -> None:
        nonlocal refused
        refused += not isinstance(await service.check(directory.check(1, number % CLIENTS), LISTENER), Allow)
        waits.append(time.monotonic() - due)

    async with served(directory, patient=False) as (service, _):
        for number in range(CLIENTS):
            await service.check(directory.check(1, number), LISTENER)
        before, start = cpu(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * rate)):
                due = start + number / rate
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                group.create_task(one(service, number, due))
        return (cpu() - before) / len(waits), sorted(waits)[int(0.99 * len(waits))] * 1e3, refused


def change(directory: Directory, stop: multiprocessing.synchronize.Event, number: int) -> None:
    """So many changes a second of the clients' own rows, in a process of its own."""
    while not stop.wait(1 / CHANGES_EACH_SECOND):
        number += 7
        identity = max(directory.users, CLIENTS) + number % CLIENTS
        directory.sql([("UPDATE users SET active = true WHERE id = ?", [(identity,)])])


def changes_beside_checks(directory: Directory, seconds: float, rate: int) -> None:
    """The same load without changes, with them, and without."""
    context, found = multiprocessing.get_context("fork"), []
    for changing in (False, True, False):
        stop = context.Event()
        process = context.Process(target=change, args=(directory, stop, 0), daemon=True)
        if changing:
            process.start()
        found.append(uvloop.run(load(directory, seconds, rate)))
        stop.set()
        if changing:
            process.join()
    (cost, p99, without), (changed_cost, changed_p99, refused), (again, p99_again, without_again) = found
    cost, p99 = (cost + again) / 2, (p99 + p99_again) / 2
    print(f"{CHANGES_EACH_SECOND} changes/s beside {rate} checks/s of {CLIENTS} clients: {refused} refused "
        f"({without} and {without_again} without), "
          f"{changed_cost / cost:.2f} x the CPU, {changed_p99 / p99:.2f} x the p99 ({changed_p99:.1f} ms)")  # fmt: skip


def main() -> None:
    """Small and big, in turns."""
    words = dict(enumerate(sys.argv))
    dialect, organizations, each_users, seconds = (
        words.get(1, "sqlite"),
        int(words.get(2, 10_000)),
        int(words.get(3, 100)),
        float(words.get(4, 20)),
    )
    with tempfile.TemporaryDirectory() as folder:
        table: list[dict[str, float]] = []
        for size in (10, organizations):
            directory = DIALECTS[dialect](Path(folder), size, each_users)
            began = time.monotonic()
            directory.fill()
            table.append(
                {"made, s": time.monotonic() - began} | uvloop.run(users(directory)) | uvloop.run(verbs(directory))
            )
        print(
            f"{dialect}: {10 * each_users} and {organizations * each_users} users; "
            "known in us, uniform and Zipf in known checks, the rest in ms"
        )
        for what in table[0]:
            print(f"{what:10} {table[0][what]:9.2f} {table[1][what]:9.2f}")
        changes_beside_checks(directory, seconds, int(words.get(5, 2_000)))


if __name__ == "__main__":
    main()
