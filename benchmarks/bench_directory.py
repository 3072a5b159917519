"""What the directory's size costs, and changes beside checks: a small and a big one, as ratios in one run.

`python benchmarks/bench_directory.py [DIALECT] [ORGANIZATIONS] [USERS] [SECONDS] [RATE]`: sqlite or postgresql, 10,000
organizations of 100 users, 20 s and 2,000 checks/s by default; `sqlite 100 20 2 200` shows that it works. All is CPU of
this process, each beside a known check in the same loop, whose rows are at hand; latencies are from the moment a check
was due. `DIALECTS` has what is a dialect's own; PostgreSQL is set as for tests: no commit waits for a disk.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import multiprocessing.synchronize
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psycopg
import sqlalchemy as sa
import uvloop
from support.certificates import NOW, Authority
from support.decision_world import request
from support.directory import DirectoryStore
from support.postgresql import Server

from authz.app.config import LimitSettings
from authz.decision import Allow
from authz.directory import DirectoryReader
from authz.directory.authorities import ANCHORS
from authz.directory.cache import tenants_memory
from authz.directory.databases import database_of
from authz.directory.leaf_columns import leaf_columns
from authz.directory.registrations import list_registrations
from authz.directory.sqlite.migrate import migrate
from authz.directory.users import list_users
from authz.identity.header import UserNameHeader
from authz.model import CheckRequest, Organization, TokenSettings
from authz.pki import Certificate, Crl, CrlStore, ModeOf
from authz.service import Service, ServiceLimits
from authz.supervision.worker import settle
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
READERS = 16
ROUNDS = 20
PAGE = 50
SEEN_SECONDS = 0.5
"""Within what all readers must have seen a change, besides the delay of their timers."""

Rows = tuple[str, Sequence[str], Iterable[tuple[object, ...]]]
"""Of a table: its name, its columns, and the rows."""


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

    `sql` runs statements in one transaction. `load` adds rows in one, and no trigger numbers them: no reader is there
    yet. `loaded` is called after the last of them.
    """

    url: str
    organizations: int
    users: int
    sql: Callable[[Iterable[tuple[str, Iterable[tuple[object, ...]]]]], None]
    load: Callable[[Iterable[Rows]], None]
    loaded: Callable[[], None] = lambda: None

    def fill(self) -> None:
        """All rows, a few hundred organizations a transaction."""
        root, leaves = ROOT, [tuple(columns.values()) for columns in COLUMNS]
        for start in range(1, self.organizations + 1, 200):
            owners = range(start, min(start + 200, self.organizations + 1))
            users = [(number, owner, name) for owner in owners for number, name in self._users(owner)]
            self.load((
                ("organizations", ORGANIZATION, (
                    (owner, f"o{owner}", True, "user", "required", "sub", "i", f"a{owner}") for owner in owners)),
                ("hosts", ("host", "organization_id"), ((f"h{owner}.test", owner) for owner in owners)),
                ("anchors", ("organization_id", "sha256", "der"), ((owner, root.sha256, root.der) for owner in owners)),
                ("users", USER, ((number, owner, name, "required", True) for number, owner, name in users)),
                ("registrations", REGISTRATION, (
                    (owner, number, *leaves[number % 100], "", 0) for number, owner, _ in users)),
            ))  # fmt: skip
        self.loaded()
        # The first change that is logged: a reader then knows where the log begins.
        self.sql([(CHANGE, [(max(self.users, CLIENTS),)])])

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
    *("id", "name", "active", "binding_scope", "default_enforcement"),
    *("token_user_claim", "token_issuer", "token_audience"),
)
USER = ("id", "organization_id", "name", "enforcement", "active")
COLUMNS = [leaf_columns(Certificate.parse(leaf.der), CA.der) for leaf in LEAVES]
for columns in COLUMNS:
    columns |= {name: int(columns[name].timestamp()) * 1_000_000 for name in ("not_before", "not_after")}
REGISTRATION = ("organization_id", "user_id", *COLUMNS[0], "label", "created_at")

# Neither forbids anything, and each is another row.
CHANGE = (
    "UPDATE users SET enforcement = CASE enforcement WHEN 'required' THEN 'observe' ELSE 'required' END WHERE id = ?"
)


def sqlite_directory(folder: Path, organizations: int, users: int) -> Directory:
    """One in SQLite."""
    path = folder / f"{organizations}.db"

    def sql(statements: Iterable[tuple[str, Iterable[tuple[object, ...]]]]) -> None:
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
            for statement, rows in statements:
                connection.executemany(statement, rows)

    def load(tables: Iterable[Rows]) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN IMMEDIATE")
            triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            for table, columns, rows in tables:
                values = ", ".join("?" * len(columns))
                connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values})", rows)  # noqa: S608
            for _, statement in triggers:
                connection.execute(statement)

    migrate(f"sqlite:///{path}")
    return Directory(f"sqlite:///{path}", organizations, users, sql, load)


def postgresql_directory(folder: Path, organizations: int, users: int) -> Directory:  # noqa: ARG001 - a server's
    """One in a PostgreSQL of its own, which ends with this process."""
    # Without, the rows that the log of changes forgets stay, and each statement passes them.
    server = Server(autovacuum="on")
    server.initialize()
    atexit.register(server.stop)
    server.start()
    server.psql("CREATE DATABASE directory")
    url = server.url("directory")
    database_of(url).migrate()

    def sql(statements: Iterable[tuple[str, Iterable[tuple[object, ...]]]]) -> None:
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            for statement, rows in statements:
                cursor.executemany(statement.replace("?", "%s"), list(rows))

    def load(tables: Iterable[Rows]) -> None:
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            # Neither triggers nor foreign keys.
            cursor.execute("SET session_replication_role = replica")
            for table, columns, rows in tables:
                with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)

    def loaded() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for table in ("organizations", "users"):
                # Rows with an id of their own leave the sequence behind.
                connection.execute(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"  # noqa: S608
                )
            connection.execute("ANALYZE")

    return Directory(url, organizations, users, sql, load, loaded)


DIALECTS = {"sqlite": sqlite_directory, "postgresql": postgresql_directory}


def cpu() -> float:
    """Microseconds of CPU that this process has used, every thread counted."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


@contextlib.asynccontextmanager
async def served(directory: Directory, *, patient: bool = True) -> AsyncIterator[tuple[Service, DirectoryReader]]:
    """A service that reads it, with a worker's memory; a patient one refuses nothing on a slow machine."""
    clock, limits = (lambda: 0.0, ServiceLimits(seconds=30)) if patient else (time.monotonic, ServiceLimits())
    memory = tenants_memory(LimitSettings().cache_bytes)
    reader = DirectoryReader(directory.url, Crls(), monotonic=clock, warn=print, memory=memory)
    await reader.start()
    settle()
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
    """Microseconds of a check: known, uniform over all users, by Zipf's law over the organizations, and known again."""
    drawn = random.Random(20)  # noqa: S311 - chance that can be repeated
    everybody = range(2, directory.organizations + 1)
    shares = list(itertools.accumulate(1 / rank for rank in range(1, len(everybody) + 1)))
    zipf = drawn.choices(everybody, cum_weights=shares, k=2 * CHECKS)
    uniform = drawn.choices(everybody, k=CHECKS)
    found = {}
    async with served(directory) as (service, _):
        known = [directory.check(1, 0)] * CHECKS
        await each(service, known[:AT_ONCE])
        found["known"] = min([await each(service, known) for _ in range(3)])
        for what, owners in (("uniform", uniform), ("Zipf", zipf)):
            checks = [directory.check(owner, drawn.randrange(directory.users)) for owner in owners]
            await each(service, checks[: CHECKS // 2])
            # In turns, and the median of each: another process on the machine disturbs a few.
            costs, beside = [], []
            for start in range(CHECKS // 2, len(checks), 2 * AT_ONCE):
                costs.append(await each(service, checks[start : start + 2 * AT_ONCE]))
                beside.append(await each(service, known[: 4 * AT_ONCE]))
            found[what] = statistics.median(costs) / found["known"]
            found["beside"] = statistics.median(beside) / found["known"]
    return found


async def start(directory: Directory) -> float:
    """Milliseconds of CPU until a worker's reader has confirmed a revision."""
    costs = []
    for _ in range(5):
        before = cpu()
        async with served(directory) as (_, reader):
            costs.append(cpu() - before)
            assert reader.confirmed
    return statistics.median(costs) / 1e3


def memory(directory: Directory) -> float:
    """KiB by which a worker of its own grows for each of so many users, drawn from all."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    async def run() -> None:
        drawn = random.Random(21)  # noqa: S311 - chance that can be repeated
        owners = drawn.choices(range(2, directory.organizations + 1), k=CHECKS)
        async with served(directory) as (service, _):
            before = resident()
            await each(service, [directory.check(owner, drawn.randrange(directory.users)) for owner in owners])
            there.send((resident() - before) / CHECKS)

    process = context.Process(target=lambda: uvloop.run(run()), daemon=True)
    process.start()
    process.join()
    return float(here.recv())


def resident() -> float:
    """KiB of memory that this process takes now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024


def lists(directory: Directory) -> dict[str, float]:
    """Milliseconds of CPU: the first page, and all, of an organization's users and registrations, and of anchors.

    The anchors are those of all organizations, as many as there are; the other lists are as long in both.
    """
    store = DirectoryStore(directory.url)
    found: dict[str, float] = {}

    def cost(what: Callable[[sa.Connection], Iterator[object]], most: int | None) -> float:
        costs = []
        for _ in range(5):
            before = cpu()
            with store.reading() as connection:
                for _ in itertools.islice(what(connection), most):
                    pass
            costs.append(cpu() - before)
        return statistics.median(costs) / 1e3

    for name, what in (
        ("users", lambda connection: list_users(connection, "o2")),
        ("certs", lambda connection: list_registrations(connection, "o2")),
        ("anchors", ANCHORS.list),
    ):
        found |= {f"{name}, page": cost(what, PAGE), f"{name}, all": cost(what, None)}
    store.close()
    return found


async def verbs(directory: Directory) -> dict[str, float]:
    """Milliseconds of CPU: a poll that finds a change, one that finds none, an organization and a CRL added."""
    store, found = DirectoryStore(directory.url), {}
    async with served(directory) as (_, reader):
        polls = []
        for number in range(20):
            directory.sql([(CHANGE, [(2 * max(directory.users, CLIENTS) + number,)])])
            before = cpu()
            await reader._read(())  # noqa: SLF001 - what the poller calls
            polls.append(cpu() - before)
        found["poll"] = statistics.median(polls) / 1e3
        before = cpu()
        for _ in polls:
            await reader._read(())  # noqa: SLF001
        found["idle poll"] = (cpu() - before) / len(polls) / 1e3
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
        directory.sql([(CHANGE, [(identity,)])])


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


def follow(directory: Directory, pipe: multiprocessing.connection.Connection) -> None:
    """A reader in a process of its own: sends each revision that it sees, when, and how late its timer has been."""

    async def run() -> None:
        late, known = 0.0, -1
        async with served(directory) as (_, reader):
            while not pipe.poll():
                if reader.revision != known:
                    known = reader.revision
                    pipe.send((known, time.monotonic(), late))
                    late = 0.0
                before = time.monotonic()
                await asyncio.sleep(0.005)
                late = max(late, time.monotonic() - before - 0.005)

    uvloop.run(run())


def seen_by_all(directory: Directory) -> None:
    """From a commit until the last reader has seen it."""
    context = multiprocessing.get_context("fork")
    pairs = [context.Pipe() for _ in range(READERS)]
    processes = [context.Process(target=follow, args=(directory, theirs), daemon=True) for _, theirs in pairs]
    for process in processes:
        process.start()
    pipes = [own for own, _ in pairs]
    known = [pipe.recv()[0] for pipe in pipes]
    waits, delays = [], []
    for number in range(ROUNDS):
        time.sleep(random.random() / 5)  # noqa: S311 - at any moment between two polls
        directory.sql([(CHANGE, [(max(directory.users, CLIENTS) + number,)])])
        committed = time.monotonic()
        news = [pipe.recv() for pipe in pipes]
        assert {revision for revision, _, _ in news} == {known[0] + number + 1}
        waits.append(max(moment for _, moment, _ in news) - committed)
        delays.append(max(late for _, _, late in news))
    for process, pipe in zip(processes, pipes, strict=True):
        pipe.send(None)
        process.join()
    seen = f"after {statistics.median(waits):.3f} s, at most {max(waits):.3f}"
    print(f"a change is seen by all of {READERS} readers {seen}; their timers were up to {max(delays):.3f} s late")
    assert all(wait <= SEEN_SECONDS + delay for wait, delay in zip(waits, delays, strict=True))


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
            began, before = time.monotonic(), cpu()
            directory.fill()
            costs = {"made, s": time.monotonic() - began, "made, CPU s": (cpu() - before) / 1e6}
            costs |= {"start": uvloop.run(start(directory))} | uvloop.run(users(directory))
            costs |= {"KiB a user": memory(directory)} | lists(directory) | uvloop.run(verbs(directory))
            table.append(costs)
        print(
            f"{dialect}: {10 * each_users} and {organizations * each_users} users; "
            "known in us; uniform, Zipf and a known one beside them in known checks; the rest in ms; big / small"
        )
        for what, small in table[0].items():
            print(f"{what:14} {small:9.2f} {table[1][what]:9.2f} {table[1][what] / small:8.2f} x")
        changes_beside_checks(directory, seconds, int(words.get(5, 2_000)))
        seen_by_all(directory)


if __name__ == "__main__":
    main()
