"""Replacing processes one at a time: each by one that is ready, and none without need."""

from __future__ import annotations

from dataclasses import dataclass, field
from socket import socket
from typing import cast

import pytest

from authz.supervision.process_table import ChildProcess, ProcessTable, Role
from authz.supervision.rolling_restart import RollingRestart


class Kin(ChildProcess):
    """A child without a process."""

    def stop(self, now: float) -> None:
        """Note the moment."""
        self.stopping_since = now


@dataclass
class Kinship:
    """A process table whose children are spawned, ready and gone as the test says."""

    children: list[Kin] = field(default_factory=list)
    failures: list[tuple[ChildProcess, ChildProcess]] = field(default_factory=list)

    def __contains__(self, child: ChildProcess) -> bool:
        return child in self.children

    @property
    def workers(self) -> list[Kin]:
        """See `ProcessTable`."""
        return [one for one in self.children if one.role is Role.WORKER and one.stopping_since is None]

    def born(self, role: Role = Role.WORKER, *, ready: bool = True) -> Kin:
        """One more."""
        made = Kin(role, "", 0, cast("socket", None), 0, 0.0, 0.0, 0.0 if ready else None)
        self.children.append(made)
        return made

    def start(self, now: float) -> Kin:
        """For `RollingRestart`."""
        return self.born(ready=False)


@pytest.fixture
def kinship() -> Kinship:
    """Two workers and a CRL manager."""
    made = Kinship()
    for role in (Role.CRL_MANAGER, Role.WORKER, Role.WORKER):
        made.born(role)
    return made


def rolling(kinship: Kinship) -> RollingRestart:
    """All of them are to be replaced."""
    made = RollingRestart(
        cast("ProcessTable", kinship), kinship.start, lambda old, new: kinship.failures.append((old, new))
    )
    made.begin(list(kinship.children))
    return made


def test_worker_ends_only_when_another_is_ready(kinship: Kinship) -> None:
    """And the next is replaced only when it is gone; the manager comes last."""
    manager, first, second = kinship.children
    roll = rolling(kinship)
    for old in (first, second):
        roll.step(1.0, 2)
        new = kinship.children[-1]
        assert (old.stopping_since, roll.additional) == (None, 1)
        new.ready_since = 2.0
        roll.step(2.0, 2)
        assert (old.stopping_since, manager.stopping_since, roll.additional) == (2.0, None, 0)
        roll.step(2.5, 2)
        assert len(kinship.workers) == 2
        kinship.children.remove(old)
    roll.step(3.0, 2)
    assert manager.stopping_since == 3.0
    assert not roll


def test_worker_too_many_ends_without_a_successor(kinship: Kinship) -> None:
    """There are to be fewer from now on."""
    _, first, second = kinship.children
    roll = rolling(kinship)
    roll.step(1.0, 1)
    assert first.stopping_since == 1.0
    assert second.stopping_since is None
    assert len(kinship.children) == 4


def test_replacement_that_dies_leaves_the_old_one(kinship: Kinship) -> None:
    """The caller decides what follows."""
    _, first, _ = kinship.children
    roll = rolling(kinship)
    roll.step(1.0, 2)
    new = kinship.children.pop()
    roll.cancel()
    roll.step(2.0, 2)
    assert kinship.failures == [(first, new)]
    assert first.stopping_since is None
    assert not roll


def test_replacement_that_cannot_be_started_now_is_tried_later(kinship: Kinship) -> None:
    """No process ends for one that is not there."""
    _, first, _ = kinship.children
    answers = [None, kinship.born(ready=False)]
    roll = RollingRestart(cast("ProcessTable", kinship), lambda _now: answers.pop(0), lambda *_: None)
    kinship.children.pop()
    roll.begin([first])
    roll.step(1.0, 2)
    assert (first.stopping_since, bool(roll)) == (None, True)
    roll.step(2.0, 2)
    assert answers == []
    assert first.stopping_since is None


def test_old_worker_that_dies_meanwhile_is_replaced_already(kinship: Kinship) -> None:
    """Nothing else is started in its slot."""
    _, first, _ = kinship.children
    roll = rolling(kinship)
    roll.step(1.0, 2)
    kinship.children.remove(first)
    assert roll.additional == 0
    kinship.children[-1].ready_since = 2.0
    roll.step(2.0, 2)
    assert len(kinship.workers) == 3


def test_member_that_is_gone_or_ending_needs_no_replacement(kinship: Kinship) -> None:
    """It was replaced in another way."""
    _, first, second = kinship.children
    roll = rolling(kinship)
    kinship.children.remove(first)
    second.stopping_since = 0.5
    roll.step(1.0, 2)
    assert kinship.workers == []
