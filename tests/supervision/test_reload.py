"""Other settings: every process is replaced, or, where that cannot be done, all are as before."""

from __future__ import annotations

import signal
from itertools import pairwise
from pathlib import Path

from support.clocked_supervisor import Crew

from authz.supervision.process_table import ChildProcess
from authz.supervision.restarts import LONGEST_DELAY, MAX_FAILED_STARTS


def sockets(crew: Crew) -> set[str]:
    """The listeners' sockets that are there."""
    return {one.name for one in crew.folder.glob("*.sock")}


def generations(crew: Crew) -> set[int]:
    """Of the processes that are there."""
    return {one.generation for one in crew.processes}


def begin(crew: Crew, listener: str) -> None:
    """Settings with another listener; one worker has them, and the next is being started."""
    spawned = crew.spawned
    crew.settings = crew.written(listener=listener)
    crew.tell(signal.SIGHUP)
    crew.until(lambda: crew.spawned == spawned + 2, 60)


def die(crew: Crew, child: ChildProcess, trouble: str = "") -> None:
    """A child says what is wrong with it, and ends."""
    crew.trouble[child] = trouble
    crew.turn(0.01)
    child.kill(signal.SIGKILL)


def test_second_change_that_fails_goes_back_to_before_the_first(crew: Crew) -> None:
    """Not to what was between, with which not every process had come to be ready either."""
    begin(crew, "second")
    begin(crew, "third")
    assert sockets(crew) == {"first.sock", "third.sock"}
    assert generations(crew) >= {1, 2}
    die(crew, crew.workers[-1], "no room")
    crew.turn()
    assert "the settings are not reloaded: worker-2 did not start: no room" in crew.said
    crew.settle()
    assert generations(crew) == {0}
    assert sockets(crew) == {"first.sock"}
    assert len(crew.processes) == 3
    assert "reloaded" not in crew.said.splitlines()


def test_crl_manager_that_cannot_live_with_a_second_change_is_there_with_the_first_settings(crew: Crew) -> None:
    """It is the last to be replaced: every worker goes back, too."""
    begin(crew, "second")
    begin(crew, "third")
    crew.until(lambda: crew.processes.crl_manager is None or crew.manager.generation == 2, 60)
    crew.turn()
    assert {one.generation for one in crew.workers} == {2}
    die(crew, crew.manager, "somebody has the folder")
    crew.idle.discard(crew.manager)
    crew.settle()
    assert generations(crew) == {0}
    assert sockets(crew) == {"first.sock"}


def test_change_after_going_back_is_taken(crew: Crew) -> None:
    """Nothing of what failed is in its way."""
    begin(crew, "second")
    die(crew, crew.workers[-1])
    crew.settle()
    crew.settings = crew.written(workers=1, listener="second")
    crew.tell(signal.SIGHUP)
    crew.until(lambda: crew.said.endswith("reloaded"), 60)
    assert sockets(crew) == {"second.sock"}
    assert len(crew.processes) == 2


def test_worker_with_too_much_memory_whose_replacements_fail_stays(crew: Crew) -> None:
    """They are tried ever later, and no more after so many."""
    crew.made.reload.rolling.begin(crew.workers[:1])
    old, spawned = crew.workers[0], crew.spawned
    moments = []
    for _ in range(MAX_FAILED_STARTS * 2):
        before = crew.spawned
        crew.able = False
        crew.until(lambda before=before: crew.spawned > before, 2 * LONGEST_DELAY)  # type: ignore[misc]
        moments.append(crew.now)
        die(crew, crew.workers[-1])
    waits = [later - sooner for sooner, later in pairwise(moments)]
    assert waits[0] < 1
    assert LONGEST_DELAY <= waits[-1] < LONGEST_DELAY + 1
    crew.turns(30)
    assert f"{old.slot} is not replaced: its replacements do not start" in crew.said
    assert crew.spawned == spawned + MAX_FAILED_STARTS * 2
    assert old.serving
    assert crew.made.upgrade.settled


def test_worker_of_settings_that_were_given_up_is_replaced_however_long_it_takes(crew: Crew) -> None:
    """It answers by what holds no more."""
    begin(crew, "second")
    given_up = next(one for one in crew.workers if one.generation == 1)
    crew.able = False
    for _ in range(MAX_FAILED_STARTS * 2 + 5):
        before = crew.spawned
        die(crew, crew.workers[-1])
        crew.until(lambda before=before: crew.spawned > before, 2 * LONGEST_DELAY)  # type: ignore[misc]
    assert given_up.serving
    crew.able = True
    crew.idle.clear()
    crew.settle()
    assert given_up not in crew.processes
    assert generations(crew) == {0}


def test_socket_that_only_those_before_have_is_there_until_all_are_replaced(crew: Crew) -> None:
    """Every client that connects to it is answered."""
    begin(crew, "second")
    assert sockets(crew) == {"first.sock", "second.sock"}
    crew.until(lambda: crew.said.endswith("reloaded"), 60)
    assert sockets(crew) == {"second.sock"}
    assert not Path(crew.folder / "first.sock").exists()
