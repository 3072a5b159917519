"""Children that are there and do nothing are not waited for; those that work are left alone."""

from __future__ import annotations

import signal

from support.clocked_supervisor import Crew


def test_worker_that_never_comes_to_be_ready_is_killed_and_replaced(crew: Crew) -> None:
    """It tells that it lives, and has a minute."""
    crew.able = False
    crew.workers[0].kill(signal.SIGKILL)
    crew.turns(1)
    late = crew.workers[-1]
    crew.turns(58)
    assert late in crew.processes
    crew.able = True
    crew.turns(3)
    assert late not in crew.processes
    assert f"{late.slot} (process {late.pid}) does not become ready, and is killed" in crew.said
    crew.settle()


def test_worker_that_waits_for_a_crl_manager_that_is_not_ready_is_not_killed(crew: Crew) -> None:
    """The minute begins when there is somebody to have CRLs from."""
    crew.able = False
    crew.workers[0].kill(signal.SIGKILL)
    crew.manager.kill(signal.SIGKILL)
    crew.turns(1)
    waiting = crew.workers[-1]
    crew.turns(300)
    assert waiting in crew.processes
    crew.idle.discard(crew.manager)
    crew.turns(59)
    assert waiting in crew.processes
    crew.turns(3)
    assert waiting not in crew.processes


def test_replacement_that_never_comes_to_be_ready_leaves_the_one_that_works(crew: Crew) -> None:
    """It is killed like any other, and the settings are not reloaded."""
    before = list(crew.processes)
    crew.able = False
    crew.tell(signal.SIGHUP)
    crew.turns(62)
    crew.able = True
    crew.settle()
    assert list(crew.processes) == before
    assert "the settings are not reloaded: worker-2 did not start: signal 9" in crew.said


def test_child_that_does_not_end_in_its_time_is_killed(crew: Crew) -> None:
    """What checks in flight may take, and five seconds more."""
    crew.deaf = True
    last = crew.workers[0]
    crew.tell(signal.SIGTERM)
    crew.turns(14)
    assert last in crew.processes
    crew.turns(2)
    assert last not in crew.processes


def test_child_that_is_silent_is_killed(crew: Crew) -> None:
    """After five seconds; the others are not."""
    others, hanging = crew.workers[0], crew.workers[1]
    crew.silent.add(hanging)
    crew.turns(4.5)
    assert hanging in crew.processes
    crew.turns(1)
    assert hanging not in crew.processes
    assert others in crew.processes


def test_supervisor_that_was_away_itself_kills_no_process(crew: Crew) -> None:
    """Who did not listen heard nothing."""
    before = list(crew.processes)
    crew.silent.update(before)
    crew.turns(4)
    crew.turn(600)
    crew.turns(4)
    assert list(crew.processes) == before
