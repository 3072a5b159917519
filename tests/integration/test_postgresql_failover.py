"""The primary is lost, and a standby that lacks its last commits takes over: what the standby has is what counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest
from support.directory import DirectoryStore
from support.postgresql import Server
from support.replicas import Replicas, halted, kill
from support.worker_processes import until

pytestmark = pytest.mark.envoy
LOG = logging.getLogger(__name__)
"""For the figures of docs/postgresql.md: `make test PYTEST="--log-cli-level INFO ..."` prints them."""


@contextmanager
def killed(server: Server) -> Iterator[None]:
    """In the block it is gone; then somebody starts it again, although another has taken over."""
    kill(server)
    yield
    server.start()


FAULTS = {"killed": killed, "hanging": halted}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_the_standby_lost_is_judged_by_its_state(
    replicas_to_fail_over: Replicas,
    fault: Callable[[Server], AbstractContextManager[None]],
) -> None:
    """A retired certificate is good again, and a registered one is not, although the numbers are those of before.

    The earlier primary comes back; a worker that knows the new one does not believe it, even if it alone answers.
    """
    replicas, cluster, world = replicas_to_fail_over, replicas_to_fail_over.cluster, replicas_to_fail_over.world
    with replicas.asked("alice") as own, replicas.asked("stranger") as other:
        until(lambda: own.all_say(200) and other.all_say(403))
        cluster.until_followed()
        cluster.unfollow()
        with closing(DirectoryStore(cluster.primary.url("directory"))) as store:
            store.retire(1, world.mint.now)
            world.register(store, "alice", "stranger")
        until(lambda: own.all_say(403) and other.all_say(200))
        lost = revision(cluster.primary)
        with fault(cluster.primary):
            with own.steadily(), other.steadily():
                broken = time.monotonic()
                cluster.fail_over()
                with closing(DirectoryStore(cluster.standby.url("directory"))) as store:
                    while revision(cluster.standby) < lost:
                        store.add_user("acme", f"user {revision(cluster.standby)}")
                assert revision(cluster.standby) == lost
                until(lambda: own.all_say(200) and other.all_say(403))
                well = time.monotonic()
            LOG.info("%s", own.outage(broken, broken))
        cut_connections(cluster.standby)
        with other.steadily(), own.steadily():
            until(lambda: own.all_say(503))
            kill(cluster.primary)
            until(lambda: own.all_say(200) and other.all_say(403))
    assert 200 not in other.statuses(since=well)
    assert 403 not in own.statuses(since=well)


def revision(server: Server) -> int:
    """The number of the directory's state there."""
    return int(server.psql("SELECT revision FROM directory_state", "directory"))


def cut_connections(server: Server) -> None:
    """End every session of the service."""
    server.psql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'authz'")
