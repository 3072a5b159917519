"""Workers: the memory that they may allocate, and what becomes of one that may open nothing more. All are real."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.served import Served, end, opened_files
from support.worker_processes import Direct

from authz.demo.world import World
from authz.directory import Store


@pytest.fixture
def apart(tmp_path: Path) -> Served:
    """Not started yet."""
    return Served(tmp_path)


def test_worker_that_may_open_nothing_more_answers_no_old_truth_and_comes_back(apart: Served) -> None:
    """The link to the next manager is lost on the way, again and again; when it may open more again, all is well."""
    world = World(apart.folder).build()
    apart.socket = world.socket
    apart.write(1)
    alice = Direct(SimpleNamespace(world=world, token=world.token))  # type: ignore[arg-type]
    try:
        apart.start()
        alice.open(1)
        (ask,) = alice
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
    finally:
        alice.close()
        end(apart)


def revoke(world: World, client: str) -> None:
    """Her CA publishes it."""
    store = Store(world.database)
    store.add_crl(world.crl("issuing", "revoked", client, number=2), world.mint.now)
    store.close()


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
