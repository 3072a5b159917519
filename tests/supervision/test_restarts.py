"""When a process that died is started again."""

from __future__ import annotations

import pytest

from authz.supervision.restarts import LONGEST_DELAY, MAX_FAILED_STARTS, STEADY_SECONDS, Restarts


def test_accident_is_made_up_for_at_once() -> None:
    """A process that did its work for long may die any number of times."""
    restarts = Restarts()
    assert {restarts.died(STEADY_SECONDS) for _ in range(50)} == {0.0}
    assert not restarts.hopeless


def test_deaths_in_a_row_are_made_up_for_ever_later() -> None:
    """At once for a few, then twice as late each time, within a bound."""
    restarts = Restarts()
    assert [restarts.died(1.0) for _ in range(6)] == [0.0, 0.0, 0.1, 0.2, 0.4, 0.8]
    assert {restarts.died(1.0) for _ in range(50)} >= {LONGEST_DELAY}
    assert restarts.died(STEADY_SECONDS) == 0.0


@pytest.mark.parametrize("processes", [1, 4])
def test_several_processes_have_as_many_deaths_free(processes: int) -> None:
    """An operator who kills each in turn finds all of them again."""
    restarts = Restarts()
    delays = [restarts.died(1.0, processes) for _ in range(2 * processes + 1)]
    assert delays == [0.0] * (2 * processes) + [0.1]


def test_starts_that_come_to_nothing_are_hopeless_in_the_end() -> None:
    """Unless one comes to be ready between."""
    restarts = Restarts()
    for _ in range(MAX_FAILED_STARTS - 1):
        restarts.died(None)
    assert not restarts.hopeless
    restarts.died(0.5)
    restarts.died(None)
    assert not restarts.hopeless
    for _ in range(MAX_FAILED_STARTS - 1):
        restarts.died(None)
    assert restarts.hopeless


def test_several_processes_have_as_many_fruitless_starts() -> None:
    """One round without memory is not the end."""
    restarts = Restarts()
    for _ in range(MAX_FAILED_STARTS):
        restarts.died(None, 4)
    assert not restarts.hopeless
