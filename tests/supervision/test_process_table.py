"""The supervisor's children: started, linked with each other, and ended at any moment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from support.clocked_supervisor import Crew

from authz.supervision.control import MAX_KEY_SETS, send


def test_worker_that_lost_its_link_is_given_another(crew: Crew) -> None:
    """Both ends of it, and no other child is disturbed."""
    worker, other = crew.workers
    before = {one: len(crew.links[one]) for one in crew.processes}
    send(crew.ends[worker], None, {"unlinked": True})
    crew.turn()
    crew.turn()
    assert {one: len(crew.links[one]) - before[one] for one in crew.processes} == {crew.manager: 1, worker: 1, other: 0}
    assert connected(crew.links[crew.manager][-1], crew.links[worker][-1])


def connected(one: int, another: int) -> bool:
    """Whether two descriptors are the ends of one pair of sockets."""
    with socket.socket(fileno=os.dup(one)) as ours, socket.socket(fileno=os.dup(another)) as theirs:
        ours.send(b"x")
        return theirs.recv(9, socket.MSG_DONTWAIT) == b"x"


def test_worker_whose_links_are_lost_again_and_again_is_no_busy_loop(crew: Crew) -> None:
    """It may open nothing more, and says so at once: it is given one link at each turn, not thousands."""
    worker = crew.workers[0]
    before = len(crew.links[worker])
    for _ in range(50):
        send(crew.ends[worker], None, {"unlinked": True})
        crew.turn(0.001)
    assert len(crew.links[worker]) - before == 1
    crew.turn()
    assert len(crew.links[worker]) - before == 2


def test_next_crl_manager_is_linked_with_every_worker(crew: Crew) -> None:
    """The ends of those before lead to no process."""
    before, workers = crew.manager, crew.workers
    before.kill(signal.SIGKILL)
    crew.turn()
    crew.settle()
    assert crew.manager is not before
    assert crew.workers == workers
    ends = zip(crew.links[crew.manager], (crew.links[one][-1] for one in workers), strict=True)
    assert all(connected(*pair) for pair in ends)


STARTS = """
import os, selectors, signal, sys, time
from authz.supervision.process_table import ProcessTable, Role

signal.signal(signal.SIGTERM, lambda *_: None)
fork = os.fork
def fork_and_end():
    child = fork()
    if child:
        os.kill(child, signal.SIGTERM)
    else:
        until = time.monotonic() + 30
        while signal.SIGTERM not in signal.sigpending() and time.monotonic() < until:
            pass
    return child
os.fork = fork_and_end
processes = ProcessTable(selectors.DefaultSelector(), print)
child = processes.spawn(Role.WORKER, 0, 0.0, lambda slot, control: time.sleep(20) or 0)
print(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
"""


def test_child_that_is_ordered_to_end_before_it_listens_ends() -> None:
    """What the supervisor's own handler would do with the signal, in the child, is nothing."""
    done = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM}\n", "")


def test_worker_whose_link_did_not_leave_is_linked_later(crew: Crew) -> None:
    """Its control is full: it hears of nothing, and the manager's end is closed."""
    worker = crew.workers[0]
    worker.linked = False
    while send(worker.control, None, {}):
        pass
    crew.processes.link(crew.now + 1)
    assert not worker.linked
    crew.turns(2)
    assert worker.linked
    assert connected(crew.links[crew.manager][-1], crew.links[worker][-1])


def test_key_sets_that_workers_cannot_read_are_those_unusable_first_and_bounded(crew: Crew) -> None:
    """Each with the least time that any worker has; a worker that reads it again takes it back."""
    one, other = crew.workers
    one.key_sets, other.key_sets = {"a": 60, "b": 0}, {"a": 30, "c": 90}
    assert list(crew.processes.key_sets.items()) == [("b", 0), ("a", 30), ("c", 90)]
    one.key_sets = {str(number): number for number in range(3 * MAX_KEY_SETS)}
    assert len(crew.processes.key_sets) == MAX_KEY_SETS
    assert "299" not in crew.processes.key_sets
    # Their next heartbeats name none.
    crew.turns(2)
    assert crew.processes.key_sets == {}
