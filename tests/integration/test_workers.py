"""Several workers behind a real Envoy: what happens to them is no request's concern, and what changes holds for all."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.directory import DirectoryStore
from support.worker_processes import (
    BOUND,
    METRICS_PAUSE,
    WORKERS,
    Direct,
    Steady,
    all_ready,
    children,
    events,
    last_allowed,
    metric,
    reasons,
    rounds,
    until,
)

from authz.demo import Stage
from authz.demo.world import ORGANIZATION
from authz.pki import Certificate

pytestmark = pytest.mark.envoy


def kill(stage: Stage, process: int) -> None:
    """At once, and wait until all are there again."""
    os.kill(process, signal.SIGKILL)
    until(lambda: process not in children(stage) and all_ready(stage, WORKERS), METRICS_PAUSE)


def renew(stage: Stage, number: signal.Signals) -> None:
    """Replace all, and wait for it."""
    assert stage.service.process is not None
    before = events(stage, "reloaded")
    stage.service.process.send_signal(number)
    until(lambda: events(stage, "reloaded") > before and all_ready(stage, WORKERS), METRICS_PAUSE)


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
    """A certificate revoked, a registration retired, a user switched off, an anchor removed: on open connections."""
    direct = Direct(crew)
    store = DirectoryStore(crew.world.database)
    registration, number = 1, 1
    anchor = Certificate.parse(crew.world.authorities["root"].certificate.public_bytes(Encoding.DER))
    try:
        direct.reach_each_worker(crew)
        for one in range(rounds(50)):
            until(lambda: direct.all_say(200))
            if one % 4 == 1:
                store.retire(registration, crew.world.mint.now)
                assert last_allowed(direct) < BOUND
                registration = crew.world.register(store, "alice", "alice")
            elif one % 4 == 2:
                alice = store.user(ORGANIZATION, "alice")
                store.set_user(replace(alice, active=False))
                assert last_allowed(direct) < BOUND
                store.set_user(alice)
            elif one % 4 == 3:
                store.remove_anchor(ORGANIZATION, anchor.sha256)
                assert last_allowed(direct) < BOUND
                store.add_anchors(ORGANIZATION, [anchor])
            else:
                number += 2
                store.add_crl(crew.world.crl("issuing", "revoked", "alice", number=number), crew.world.mint.now)
                assert last_allowed(direct) < BOUND
                store.add_crl(crew.world.crl("issuing", "revoked", number=number + 1), crew.world.mint.now)
        until(lambda: direct.all_say(200))
    finally:
        store.close()
        direct.close()


def test_load_spreads_over_the_workers(crew: Stage) -> None:
    """With the setting of deploy/envoy.yaml at a tenth, as each worker's own counter says."""
    crew.envoy.stop()
    setting, shipped = "max_requests_per_connection: 100", crew.envoy._config.read_text()
    assert f"{setting}0\n" in shipped
    crew.envoy._config.write_text(shipped.replace(f"{setting}0", setting))
    crew.envoy.start()
    before = metric(crew, "authz_worker_checks_total")
    with Steady(crew, clients=12, pause=0.0) as steady:
        until(lambda: sum(steady.answers.values()) >= 2_400)
    assert steady.wrong == {}, reasons(crew)

    def counted() -> dict[str, float]:
        return {one: count - before[one] for one, count in metric(crew, "authz_worker_checks_total").items()}

    # The page is shared and kept, and so may be from before the load.
    until(lambda: sum(counted().values()) >= 2_400, METRICS_PAUSE)
    shares = counted()
    assert min(shares.values()) > 0.02 * sum(shares.values()), shares
