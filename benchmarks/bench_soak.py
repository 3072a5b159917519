"""Mixed load while everything happens at once: changes, new CRLs, kills, reloads; no wrong answer, memory flat.

`python benchmarks/bench_soak.py [MINUTES] [sqlite|postgresql]`, 2 and both if nothing is said; 60 at length. A service
of two workers behind a real Envoy is asked steadily, by clients that must pass and by one that must not. Each second a
user is switched off or on, and must be refused or pass within the published second, and a CRL takes another's place.
Six times each process is killed and all of them are replaced, by SIGHUP and by SIGUSR2. Of each process the memory and
the descriptors are taken twice between two replacements: after a fifth of the time and at its end. The exit code is 1
if an answer was wrong, or if a process grew between two replacements that were five minutes apart or more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from machine import Steal
from support.clients import bearer
from support.postgresql import new_database, server
from support.replicas import WORKERS, Replica
from support.worker_processes import BOUND, Steady, all_ready, children, events, until

from authz.admin.audited_store import AuditedStore
from authz.admin.crls import add_crl
from authz.admin.users import change_user
from authz.clock import SystemClock
from authz.demo.application import Application
from authz.demo.client import Connection, client_context
from authz.demo.mint import HOST
from authz.demo.processes import running
from authz.demo.world import ORGANIZATION, World

REPLACEMENTS: Final = 6
SETTLED: Final = 0.2
"""The part of the time between two replacements after which caches and buffers are taken for warm."""

JUDGED_SECONDS: Final = 300
"""How far two replacements are apart at least where growth counts: before, a process may still warm up."""

GROWTH: Final = (1.1, 8.0, 4)
"""How much a process may grow meanwhile: times its memory, plus MiB; and descriptors."""


class Figures(NamedTuple):
    """Of one process: MiB of memory of its own, and open descriptors."""

    memory: float
    descriptors: int


def figures(stage: Replica) -> dict[int, Figures]:
    """Of the supervisor, the CRL manager and the workers, by process."""
    taken: dict[int, Figures] = {}
    for process in (stage.service.process.pid, *children(stage)) if stage.service.process else ():
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
        private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
        taken[process] = Figures(private / 1024, len(os.listdir(f"/proc/{process}/fd")))  # noqa: PTH208 - names alone
    return taken


class Changes:
    """One change after the other, and how long each took until it held."""

    def __init__(self, stage: Replica) -> None:
        self._stage = stage
        self._store = AuditedStore(stage.world.database)
        self._number = 1
        self.made = 0
        self.late: list[float] = []

    def once(self) -> None:
        """Bob is switched off or on, and the CRL of the issuing CA is replaced."""
        passes = self.made % 2 == 1
        change_user(self._store, ORGANIZATION, "bob", enforcement=None, active=passes)
        changed = time.monotonic()
        self._until(200 if passes else 403)
        took = time.monotonic() - changed
        if took > BOUND:
            self.late.append(took)
        self.made += 1
        self._number += 1
        # Its thisUpdate is a second later than the last one's, and never in the future.
        crl = self._stage.world.crl("issuing", "revoked", number=self._number)
        add_crl(self._store, crl, SystemClock().now())

    def _until(self, status: int) -> None:
        """Ask again and again, each time on a connection of its own, until it is the answer."""
        folder = self._stage.world.folder
        context = client_context(folder / "roots.pem", folder / "bob.pem")

        def answered() -> bool:
            with contextlib.closing(Connection(self._stage.proxy.port, context, HOST)) as connection:
                return connection.get(headers=bearer(self._stage, "bob")).status == status

        until(answered)

    def close(self) -> None:
        """Give the directory back."""
        self._store.close()


def during(seconds: float, action: Callable[[], None]) -> None:
    """Do it once a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        action()
        time.sleep(1)


def replace_all(stage: Replica) -> None:
    """Kill each worker and the CRL manager, and replace all, twice."""
    for victim in children(stage)[:]:
        os.kill(victim, signal.SIGKILL)
        until(lambda victim=victim: victim not in children(stage) and all_ready(stage, WORKERS), 0.2)  # type: ignore[misc]
    for number in (signal.SIGHUP, signal.SIGUSR2):
        # Only the newest lines matter, and an hour's are many.
        stage.service.log.clear()
        assert stage.service.process is not None
        stage.service.process.send_signal(number)
        until(lambda: events(stage, "reloaded") > 0 and all_ready(stage, WORKERS), 0.2)


def grown(before: dict[int, Figures], after: dict[int, Figures]) -> list[str]:
    """Print how each process that lived that long changed; those that grew."""
    times, more, descriptors = GROWTH
    problems = []
    for process in before.keys() & after.keys():
        old, new = before[process], after[process]
        line = f"  {process}: {old.memory:.1f} -> {new.memory:.1f} MiB, {old.descriptors} -> {new.descriptors} open"
        print(line, flush=True)
        if new.memory > old.memory * times + more or new.descriptors > old.descriptors + descriptors:
            problems.append(line)
    return problems


@contextlib.contextmanager
def stage_over(dialect: str) -> Iterator[Replica]:
    """A service of two workers and its Envoy, running, over a new directory."""
    with tempfile.TemporaryDirectory(prefix="bench-soak-") as folder:
        directory = server().url(new_database()) if dialect == "postgresql" else ""
        stage = Replica(World(Path(folder), directory=directory).build(), Application())
        with running(stage.application, stage.service, stage.envoy):
            until(lambda: all_ready(stage, WORKERS), 0.2)
            yield stage


def soak(dialect: str, minutes: float) -> bool:
    """Print what came of it; whether every answer was right and no process grew."""
    part, problems, steal = minutes * 60 / REPLACEMENTS, [], Steal()
    with stage_over(dialect) as stage, Steady(stage, pause=0.05) as steady:
        changes = Changes(stage)
        for _ in range(REPLACEMENTS):
            during(part * SETTLED, changes.once)
            before = figures(stage)
            during(part * (1 - SETTLED), changes.once)
            changed = grown(before, figures(stage))
            problems += changed if part >= JUDGED_SECONDS else []
            replace_all(stage)
        changes.close()
    right = sum(count for (wanted, came), count in steady.answers.items() if wanted == came)
    print(
        f"{dialect}: {minutes:g} minutes, {right} right answers, wrong: {steady.wrong}; {changes.made} changes, "
        f"later than {BOUND:g} s: {[round(took, 2) for took in changes.late]}; grown: {problems}; {steal}"
    )
    return not (steady.wrong or changes.late or problems)


def main() -> int:
    """One dialect after the other; the exit code."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    dialects = sys.argv[2:3] or ["sqlite", "postgresql"]
    results = [soak(dialect, minutes) for dialect in dialects]
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
