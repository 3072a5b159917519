"""Replacing processes one at a time: each by one that is ready, and none without need."""

from __future__ import annotations

from dataclasses import dataclass, field
from socket import socket
from typing import cast

import pytest

from authz.supervision.process_table import Family, Member, Role
from authz.supervision.rolling_restart import Rolling


class Kin(Member):
    """A member that no process is."""

    def stop(self, now: float) -> None:
        """Remember that it was told to end."""
        self.stopping = now


@dataclass
class Kinship:
    """A family whose members are born, ready and gone as the test says."""

    members: list[Kin] = field(default_factory=list)
    failures: list[tuple[Member, Member]] = field(default_factory=list)

    def __contains__(self, member: Member) -> bool:
        return member in self.members

    @property
    def workers(self) -> list[Kin]:
        """See `Family`."""
        return [one for one in self.members if one.role is Role.WORKER and one.stopping is None]

    def born(self, role: Role = Role.WORKER, *, ready: bool = True) -> Kin:
        """One more."""
        made = Kin(role, "", 0, cast("socket", None), 0, 0.0, 0.0, 0.0 if ready else None)
        self.members.append(made)
        return made

    def start(self, now: float) -> Kin:
        """For `Rolling`."""
        return self.born(ready=False)


@pytest.fixture
def kinship() -> Kinship:
    """Two workers and a keeper."""
    made = Kinship()
    for role in (Role.KEEPER, Role.WORKER, Role.WORKER):
        made.born(role)
    return made


def rolling(kinship: Kinship) -> Rolling:
    """All of them are to be replaced."""
    made = Rolling(cast("Family", kinship), kinship.start, lambda old, new: kinship.failures.append((old, new)))
    made.begin(list(kinship.members))
    return made


def test_worker_ends_only_when_another_is_ready(kinship: Kinship) -> None:
    """And the next is replaced only when it is gone; the keeper comes last."""
    keeper, first, second = kinship.members
    roll = rolling(kinship)
    for old in (first, second):
        roll.step(1.0, 2)
        new = kinship.members[-1]
        assert (old.stopping, roll.additional) == (None, 1)
        new.ready_since = 2.0
        roll.step(2.0, 2)
        assert (old.stopping, keeper.stopping, roll.additional) == (2.0, None, 0)
        roll.step(2.5, 2)
        assert len(kinship.workers) == 2
        kinship.members.remove(old)
    roll.step(3.0, 2)
    assert keeper.stopping == 3.0
    assert not roll


def test_worker_too_many_ends_without_a_successor(kinship: Kinship) -> None:
    """There are to be fewer from now on."""
    _, first, second = kinship.members
    roll = rolling(kinship)
    roll.step(1.0, 1)
    assert first.stopping == 1.0
    assert second.stopping is None
    assert len(kinship.members) == 4


def test_replacement_that_dies_leaves_the_old_one(kinship: Kinship) -> None:
    """Whoever asked for it decides what follows."""
    _, first, _ = kinship.members
    roll = rolling(kinship)
    roll.step(1.0, 2)
    new = kinship.members.pop()
    roll.forget()
    roll.step(2.0, 2)
    assert kinship.failures == [(first, new)]
    assert first.stopping is None
    assert not roll


def test_replacement_that_cannot_be_started_now_is_tried_later(kinship: Kinship) -> None:
    """Nobody ends for one that is not there."""
    _, first, _ = kinship.members
    answers = [None, kinship.born(ready=False)]
    roll = Rolling(cast("Family", kinship), lambda _now: answers.pop(0), lambda *_: None)
    kinship.members.pop()
    roll.begin([first])
    roll.step(1.0, 2)
    assert (first.stopping, bool(roll)) == (None, True)
    roll.step(2.0, 2)
    assert answers == []
    assert first.stopping is None


def test_old_worker_that_dies_meanwhile_is_replaced_already(kinship: Kinship) -> None:
    """Nothing else is started in its place."""
    _, first, _ = kinship.members
    roll = rolling(kinship)
    roll.step(1.0, 2)
    kinship.members.remove(first)
    assert roll.additional == 0
    kinship.members[-1].ready_since = 2.0
    roll.step(2.0, 2)
    assert len(kinship.workers) == 3


def test_member_that_is_gone_or_ending_needs_no_replacement(kinship: Kinship) -> None:
    """It was replaced in another way."""
    _, first, second = kinship.members
    roll = rolling(kinship)
    kinship.members.remove(first)
    second.stopping = 0.5
    roll.step(1.0, 2)
    assert kinship.workers == []
