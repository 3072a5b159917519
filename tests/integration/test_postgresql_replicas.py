"""Two replicas over one PostgreSQL: changes hold on every worker, and a server that fails allows nothing."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.directory import DirectoryStore
from support.postgresql import Server, restored_beside, restored_in_place
from support.replicas import Everywhere, Replicas, halted, kill
from support.worker_processes import BOUND, last_allowed, rounds, until

from authz.directory.reader import CONFIRMED_SECONDS
from authz.model import Enforcement

pytestmark = pytest.mark.envoy
LOG = logging.getLogger(__name__)
"""For the figures of docs/postgresql.md: `make test PYTEST="--log-cli-level INFO ..."` prints them."""


def switch(store: DirectoryStore, *, on: bool) -> None:
    """Switch alice on or off."""
    store.set_user(replace(store.user("acme", "alice"), active=on))


def test_change_holds_on_every_worker_of_both_within_the_bound(replicas: Replicas) -> None:
    """A registration retired, a user switched off, a certificate revoked: directly, and through each Envoy."""
    world, registration, number = replicas.world, 1, 1
    with closing(DirectoryStore(world.database)) as store, replicas.asked("alice") as asks:
        for turn in range(rounds(6)):
            until(lambda: asks.all_say(200))
            if turn % 3 == 0:
                store.retire(registration, world.mint.now)
                assert last_allowed(asks) < BOUND
                registration = world.register(store, "alice", "alice")
            elif turn % 3 == 1:
                switch(store, on=False)
                assert last_allowed(asks) < BOUND
                switch(store, on=True)
            else:
                number += 2
                store.add_crl(world.crl("issuing", "revoked", "alice", number=number), world.mint.now)
                assert last_allowed(asks) < BOUND
                store.add_crl(world.crl("issuing", "revoked", number=number + 1), world.mint.now)
        until(lambda: asks.all_say(200))


@contextmanager
def killed(replicas: Replicas) -> Iterator[None]:
    """In the block the primary is gone, all of its processes at once."""
    kill(replicas.cluster.primary)
    yield
    replicas.cluster.primary.start()


@contextmanager
def restarting(replicas: Replicas) -> Iterator[None]:
    """In the block the primary has ended in order."""
    replicas.cluster.primary.halt(signal.SIGINT)
    yield
    replicas.cluster.primary.start()


def hanging(replicas: Replicas) -> AbstractContextManager[None]:
    """In the block the primary answers nothing."""
    return halted(replicas.cluster.primary)


def cut_off(replicas: Replicas) -> AbstractContextManager[None]:
    """In the block nothing reaches the primary."""
    return replicas.cluster.relays[0].cut()


FAULTS = {"killed": killed, "ended": restarting, "hanging": hanging, "cut off": cut_off}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_primary_away_is_503_until_it_is_back(
    replicas: Replicas, fault: Callable[[Replicas], AbstractContextManager[None]]
) -> None:
    """On every worker; what was refused before is never allowed, and what was allowed never forbidden."""
    with replicas.asked("alice") as alice, replicas.asked("bob") as bob, alice.steadily(), bob.steadily():
        until(lambda: alice.all_say(200))
        until(lambda: bob.all_say(403))
        with fault(replicas):
            broken = time.monotonic()
            until(lambda: alice.all_say(503))
            assert bob.all_say(503)
        mended = time.monotonic()
        until(lambda: alice.all_say(200))
        until(lambda: bob.all_say(403))
    LOG.info("%s", alice.outage(broken, mended))
    assert alice.statuses() == {200, 503}
    assert bob.statuses() == {403, 503}
    assert not allowed_later(alice, broken + CONFIRMED_SECONDS, mended)


def allowed_later(asks: Everywhere, since: float, until: float) -> list[float]:
    """When requests were allowed that began between two moments, in seconds after the first."""
    return [answer.began - since for answer in asks.answers if since < answer.began < until and answer.status == 200]


def test_restart_of_the_primary_forbids_and_allows_nothing_else(replicas: Replicas) -> None:
    """Ended in order and started at once: checks go on with what is confirmed, until that is two seconds old."""
    with replicas.asked("alice") as alice, replicas.asked("bob") as bob:
        until(lambda: alice.all_say(200))
        with alice.steadily(), bob.steadily():
            broken = time.monotonic()
            with restarting(replicas):
                pass
            mended = time.monotonic()
            until(lambda: alice.all_say(200))
        until(lambda: alice.all_say(200))
        until(lambda: bob.all_say(403))
    LOG.info("%s", alice.outage(broken, mended))
    assert alice.statuses() <= {200, 503}
    assert bob.statuses() <= {403, 503}


def test_what_changes_while_replicas_are_cut_off_is_not_missed(replicas: Replicas) -> None:
    """No request that begins two seconds after the cut passes by what was true before; afterwards the change holds."""
    primary = replicas.cluster.primary
    with replicas.asked("alice") as alice, closing(DirectoryStore(primary.url("directory"))) as store:
        until(lambda: alice.all_say(200))
        with alice.steadily():
            with cut_off(replicas):
                cut = time.monotonic()
                switch(store, on=False)
                until(lambda: alice.all_say(503))
            until(lambda: alice.all_say(403))
        assert not allowed_later(alice, cut + CONFIRMED_SECONDS, time.monotonic())
        switch(store, on=True)
        until(lambda: alice.all_say(200))


def test_service_ends_while_the_primary_hangs(replicas: Replicas) -> None:
    """In order, and not by being killed: what was decided last waits to be written, and is given up."""
    service = replicas.stages[1].service
    with replicas.asked("alice") as alice, replicas.asked("bob") as bob:
        until(lambda: alice.all_say(200) and bob.all_say(403))
    with halted(replicas.cluster.primary):
        service.stop()
        assert service.process is not None
        ended = service.process.returncode
    service.start()
    assert ended == 0
    with replicas.asked("alice") as alice:
        until(lambda: alice.all_say(200))


def test_sessions_that_an_administrator_ends_are_begun_again(replicas: Replicas) -> None:
    """All at once; no row is dropped for it, and none is missed."""
    with replicas.asked("alice") as alice:
        until(lambda: alice.all_say(200))
        broken = time.monotonic()
        with alice.steadily():
            for _ in range(3):
                replicas.cluster.primary.psql(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'authz'"
                )
                until(lambda: alice.all_say(200))
    LOG.info("%s", alice.outage(broken, broken))
    assert alice.statuses() <= {200, 503}


@pytest.mark.parametrize("restore", [restored_in_place, restored_beside])
def test_what_a_restore_took_back_passes_no_worker(
    replicas: Replicas, restore: Callable[[Server, str, Path], None]
) -> None:
    """Several times at random moments, with a change at once, so that the number is the one of before.

    After the dump alice is off, so that bob's certificate passes with her token; her own always does.
    """
    primary = replicas.cluster.primary
    dump = primary.folder / "dump"
    primary.run("pg_dump", "-h", primary.folder, "-U", "owner", "-Fc", "-f", dump, "directory")
    moments = random.Random(20)
    with replicas.asked("alice") as own, replicas.asked("bob") as other:
        until(lambda: own.all_say(200) and other.all_say(403))
        for _ in range(rounds(3)):
            with closing(DirectoryStore(primary.url("directory"))) as store:
                store.set_user(replace(store.user("acme", "alice"), enforcement=Enforcement.OFF))
            until(lambda: other.all_say(200))
            time.sleep(moments.random() / 5)
            restore(primary, "directory", dump)
            restored = time.monotonic()
            with closing(DirectoryStore(primary.url("directory"))) as store:
                store.set_user(replace(store.user("acme", "olga"), active=False))
            with own.steadily():
                until(lambda: other.all_say(403))
            assert other.all_say(403)
            late = [
                answer.began - restored for answer in other.answers if answer.status == 200 and answer.began > restored
            ]
            assert max(late, default=0.0) < BOUND
    assert 403 not in own.statuses()
