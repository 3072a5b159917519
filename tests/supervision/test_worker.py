"""Workers: the memory that they may allocate, and what becomes of one that may open nothing more. All are real."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.directory import DirectoryStore
from support.served import Served, end, opened_files
from support.worker_processes import Direct

from authz.demo.world import World
from authz.supervision.worker import settle


@pytest.fixture
def apart(tmp_path: Path) -> Served:
    """Not started yet."""
    return Served(tmp_path)


@contextlib.contextmanager
def one_worker(service: Served) -> Iterator[tuple[World, Callable[[], int]]]:
    """A service of one worker, and asks it as alice. A check waits for its first rows however busy the machine is."""
    world = World(service.folder).build()
    service.socket = world.socket
    service.write(1)
    service.config.write_text(service.config.read_text().replace("[limits]", "[limits]\ncheck_seconds = 20"))
    alice = Direct(SimpleNamespace(world=world, token=world.token))  # type: ignore[arg-type]
    try:
        service.start()
        alice.open(1)
        (ask,) = alice
        yield world, ask
    finally:
        alice.close()
        end(service)


def test_worker_that_may_open_nothing_more_answers_no_old_truth_and_comes_back(apart: Served) -> None:
    """The link to the next manager is lost on the way, again and again; when it may open more again, all is well."""
    with one_worker(apart) as (world, ask):
        assert ask() == 200
        manager, worker = sorted(apart.children, key=lambda one: "authz.crls" not in opened_files(one))
        soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, hard))
        os.kill(manager, signal.SIGKILL)
        revoke(world, "alice")
        apart.until(lambda: ask() == 503)
        assert {ask() for _ in range(50)} == {503}
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        apart.until(lambda: ask() == 403)
        assert worker in apart.children


def revoke(world: World, client: str) -> None:
    """Her CA publishes it."""
    store = DirectoryStore(world.database)
    store.add_crl(world.crl("issuing", "revoked", client, number=2), world.mint.now)
    store.close()


def test_worker_that_is_killed_has_logged_each_refusal_and_every_line_before_it(apart: Served) -> None:
    """It loses no more than lines of allowed requests that it answered since, and writes none out of order."""
    with one_worker(apart) as (_, ask):
        answers = [ask() for _ in range(40)]
        assert apart.check() == 403
        answers += [ask() for _ in range(20)]
        (worker,) = (child for child in apart.children if "authz.crls" not in opened_files(child))
        os.kill(worker, signal.SIGKILL)
        apart.until(lambda: worker not in apart.children)
        outcomes = [line["outcome"] for line in apart.lines if line["event"] == "decision"]
    assert answers == [200] * 60
    assert outcomes[:41] == ["allow"] * 40 + ["deny"]
    assert outcomes[41:] == ["allow"] * (len(outcomes) - 41)
    assert len(outcomes) <= 61


def test_worker_that_is_asked_to_end_has_logged_all_that_it_answered(apart: Served) -> None:
    """By the supervisor, which does so for new settings, a new version, or too much memory."""
    with one_worker(apart) as (_, ask):
        answers = [ask() for _ in range(30)]
        assert apart.stop() == 0
        outcomes = [line["outcome"] for line in apart.lines if line["event"] == "decision"]
    assert answers == [200] * 30
    assert outcomes == ["allow"] * 30


def test_worker_with_too_much_memory_is_replaced(apart: Served) -> None:
    """By one that begins with little, before it ends; the bound is far below what any worker has."""
    apart.write(2)
    text = apart.config.read_text().replace("[limits]", "[limits]\nworker_memory = 128")
    apart.config.write_text(text)
    try:
        apart.start()
        assert apart.check() == 403
        assert served_bound(apart.children[-1]) == 256 << 20
    finally:
        end(apart)


def served_bound(process: int) -> int:
    """The octets that a process may allocate."""
    (line,) = (one for one in Path(f"/proc/{process}/limits").read_text().splitlines() if "data size" in one)
    return int(line.split()[3])


def test_each_workers_own_counter_says_who_answered(served: Served) -> None:
    """Both of them, over many connections."""
    for _ in range(400):
        served.check()
    served.until(lambda: sum(served.metric("authz_worker_checks_total").values()) == 400)
    assert min(served.metric("authz_worker_checks_total").values()) > 0


def test_what_lives_long_is_not_looked_through() -> None:
    """A full collection stops all answers: for 280 ms where 60,000 leaves are cached."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    try:
        settle()
        young, full = (gc.get_stats()[generation]["collections"] for generation in (0, 2))
        kept = [[number] for number in range(300_000)]
        assert gc.get_stats()[0]["collections"] > young + 100
        assert gc.get_stats()[2]["collections"] == full
        assert len(kept) == 300_000
    finally:
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)
        gc.unfreeze()
