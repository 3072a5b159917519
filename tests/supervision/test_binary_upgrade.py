"""Another version of the supervisor takes over: only from one that is whole."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from support.clocked_supervisor import Crew

from authz.supervision import binary_upgrade

Harm = Callable[[Crew], object]


@pytest.fixture
def leaps(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When it leapt; what is installed starts well."""
    found: list[float] = []
    monkeypatch.setattr(binary_upgrade, "own_command", lambda: ["true"])
    monkeypatch.setattr(binary_upgrade, "exec_new_binary", lambda *_: found.append(crew.now))
    return found


def tried(crew: Crew) -> None:
    """What is installed was tried, and would start."""
    crew.tell(signal.SIGUSR2)
    crew.turn()
    if crew.made.upgrade._trial is not None:
        assert crew.made.upgrade._trial.wait(60) == 0


def test_whole_service_is_handed_over(crew: Crew, leaps: list[float]) -> None:
    """As soon as what is installed was tried."""
    tried(crew)
    crew.turns(5)
    assert len(leaps) == 1


def start_and_wait(crew: Crew) -> None:
    """A worker died, and the one in its slot is not ready yet."""
    crew.able = False
    crew.workers[0].kill(signal.SIGKILL)


def replace_all(crew: Crew) -> None:
    """Everybody is being replaced."""
    crew.able = False
    crew.tell(signal.SIGHUP)


def lose_manager(crew: Crew) -> None:
    """No process keeps the CRLs that would be handed over."""
    crew.able = False
    crew.manager.kill(signal.SIGKILL)


@pytest.mark.parametrize("harm", [start_and_wait, replace_all, lose_manager])
def test_service_that_is_not_whole_is_handed_over_only_when_it_is(crew: Crew, leaps: list[float], harm: Harm) -> None:
    """A child handed over as ready that is not would never be replaced."""
    harm(crew)
    crew.turn()
    tried(crew)
    crew.turns(5)
    assert leaps == []
    crew.able = True
    crew.idle.clear()
    crew.until(lambda: bool(leaps), 60)
    assert len(crew.processes) == 3


def unlink(crew: Crew) -> None:
    """A worker has no link to the manager."""
    crew.workers[0].linked = False


def tell_to_end(crew: Crew) -> None:
    """A worker was ordered to end."""
    crew.workers[0].stopping_since = crew.now


def begin_to_replace(crew: Crew) -> None:
    """A worker is to be replaced."""
    crew.made.reload.rolling.begin(crew.workers[:1])


def want_more(crew: Crew) -> None:
    """There are to be more workers."""
    terms = crew.made.reload.current
    crew.made.reload.current = replace(terms, settings=crew.written(workers=3))


def send_a_signal(crew: Crew) -> None:
    """A signal came, and nothing acted on it."""
    crew.tell(signal.SIGHUP)


@pytest.mark.parametrize("harm", [unlink, tell_to_end, begin_to_replace, want_more, send_a_signal])
def test_whole_is_who_is_complete_and_linked_and_left_alone(crew: Crew, harm: Harm) -> None:
    """Each of these alone is enough to wait."""
    assert crew.made.upgrade.settled
    harm(crew)
    assert not crew.made.upgrade.settled


def test_trial_that_hangs_is_killed_and_this_version_stays(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a minute; and the next is not held up by it."""
    monkeypatch.setattr(binary_upgrade, "own_command", lambda: ["sh", "-c", "exec sleep 600"])
    crew.tell(signal.SIGUSR2)
    crew.turn()
    trying = crew.made.upgrade._trial
    assert trying is not None
    crew.turns(59)
    assert trying.poll() is None
    crew.turns(2)
    assert trying.wait(60) == -signal.SIGKILL
    crew.turn()
    assert "does not start (exit code -9); this one stays" in crew.said
    assert crew.made.upgrade._trial is None
    assert crew.spawned == 3


def test_service_that_ends_takes_its_trial_with_it(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would wait for it."""
    monkeypatch.setattr(binary_upgrade, "own_command", lambda: ["sh", "-c", "exec sleep 600"])
    crew.tell(signal.SIGUSR2)
    crew.turn()
    trying = crew.made.upgrade._trial
    assert trying is not None
    crew.made._close()
    assert trying.returncode == -signal.SIGKILL
