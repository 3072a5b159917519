"""Several workers behind a real Envoy: what happens to them is no request's concern, and what changes holds for all."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.worker_processes import (
    WORKERS,
    Direct,
    Steady,
    all_ready,
    children,
    events,
    metric,
    reasons,
    rounds,
    until,
)

from authz.demo import Stage
from authz.directory import Store

pytestmark = pytest.mark.envoy

BOUND = 1.0
"""Seconds from a change to the last request it does not hold for: the published bound."""


def kill(stage: Stage, process: int) -> None:
    """At once, and wait until all are there again."""
    os.kill(process, signal.SIGKILL)
    until(lambda: process not in children(stage) and all_ready(stage, WORKERS))


def renew(stage: Stage, number: signal.Signals) -> None:
    """Replace all, and wait for it."""
    assert stage.service.process is not None
    before = events(stage, "reloaded")
    stage.service.process.send_signal(number)
    until(lambda: events(stage, "reloaded") > before and all_ready(stage, WORKERS))


def test_whatever_happens_to_the_processes_every_answer_is_right(crew: Stage) -> None:
    """Each worker and the keeper killed, all replaced, a new version: no good request is refused, no bad one passes."""
    with Steady(crew) as steady:
        for _ in range(rounds(20)):
            for victim in children(crew)[:]:
                kill(crew, victim)
            renew(crew, signal.SIGHUP)
            renew(crew, signal.SIGUSR2)
    assert steady.wrong == {}, reasons(crew)
    assert steady.answers[200, 200] > 100
    assert steady.answers[403, 403] > 50


def test_change_holds_for_every_worker_within_the_bound(crew: Stage) -> None:
    """A registration retired, a certificate revoked: on connections to all of them that are open."""
    direct = Direct(crew)
    store = Store(crew.world.database)
    registration, number = 1, 1
    try:
        connect_to_everybody(crew, direct)
        for one in range(rounds(50)):
            settle(direct, 200)
            if one % 2:
                store.retire(registration, crew.world.mint.now)
                assert last_allowed(direct) < BOUND
                registration = crew.world.register(store, "alice", "alice")
            else:
                number += 2
                store.add_crl(crew.world.crl("issuing", "revoked", "alice", number=number), crew.world.mint.now)
                assert last_allowed(direct) < BOUND
                store.add_crl(crew.world.crl("issuing", "revoked", number=number + 1), crew.world.mint.now)
    finally:
        store.close()
        direct.close()


def connect_to_everybody(stage: Stage, direct: Direct) -> None:
    """Open connections until each worker has one: a worker that is free accepts."""
    before = metric(stage, "authz_worker_checks_total")
    assert len(before) == WORKERS

    def everybody() -> bool:
        direct.open(WORKERS)
        for ask in direct:
            ask()
        time.sleep(1)  # a worker tells how many checks it had every half second
        return all(metric(stage, "authz_worker_checks_total")[worker] > count for worker, count in before.items())

    until(everybody)


def settle(direct: Direct, status: int) -> None:
    """Every worker answers so."""
    until(lambda: {ask() for ask in direct} == {status})


def last_allowed(direct: Direct) -> float:
    """Seconds from now to the last request that was allowed; all have to be refused in the end."""
    changed = time.monotonic()
    found = 0.0
    refused = 0
    while refused < 2:
        answers = []
        for ask in direct:
            began = time.monotonic()
            answers.append(ask())
            if answers[-1] == 200:
                found = began - changed
        refused = refused + 1 if set(answers) == {403} else 0
        assert time.monotonic() < changed + 60
    return found


def test_load_spreads_over_the_workers(crew: Stage) -> None:
    """With the setting of deploy/envoy.yaml, as each worker's own counter says."""
    before = metric(crew, "authz_worker_checks_total")
    with Steady(crew, clients=12, pause=0.0) as steady:
        until(lambda: sum(steady.answers.values()) >= 12_000)
    assert steady.wrong == {}, reasons(crew)
    shares = {one: count - before[one] for one, count in metric(crew, "authz_worker_checks_total").items()}
    assert min(shares.values()) > 0.02 * sum(shares.values()), shares
