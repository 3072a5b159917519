"""Drawn worlds: what a rehearsal says of the users who are observed, and what `required` answers the same requests."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import replace
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from support.certificates import NOW
from support.radar_world import DAY, ORGANIZATIONS, Scene, World, drawn, worlds

from authz.admin.rehearsal import Rehearsed, rehearse
from authz.decision import Deny
from authz.model import Enforcement

Reasons = dict[str, Counter[str]]


async def asked(scene: Scene) -> tuple[Reasons, set[str]]:
    """Every certificate of every user, and none: the refusals by reason, and who passed with a certificate."""
    refused: Reasons = defaultdict(Counter)
    passed = set()
    async with scene.service() as (service, seen_by, _):
        requests = [*scene.shown(), *((person, []) for person in scene.world.people)]
        for number, (person, chain) in enumerate(requests):
            decision = await scene.ask(service, person, chain, number)
            if isinstance(decision, Deny):
                refused[person.name][decision.reason.value] += 1
            elif chain:
                passed.add(person.name)
        await seen_by.close()
    return refused, passed


def required(scene: Scene) -> tuple[Reasons, set[str]]:
    """What `required` answers."""
    for person in scene.world.people:
        user = scene.store.user(person.organization, person.name)
        scene.store.set_user(replace(user, enforcement=Enforcement.REQUIRED))
    return asyncio.run(asked(scene))


@pytest.mark.fuzz
@drawn
@given(worlds())
def test_rehearsal_is_what_required_answers(world: World) -> None:
    """Of who is observed: each reason as often as it refuses, beyond what is refused already; who passes, passes."""
    people = tuple(replace(person, enforcement=Enforcement.OBSERVE) for person in world.people)
    with TemporaryDirectory() as folder:
        scene = Scene(replace(world, people=people), folder)
        before, _ = asyncio.run(asked(scene))
        with scene.store.reading() as connection:
            rehearsed = [row for name in ORGANIZATIONS for row in rehearse(connection, name, NOW - DAY, NOW)]
        after, passed = required(scene)
        scene.store.close()
    for person in people:
        mine = [row for row in rehearsed if row.user == person.name]
        said = Counter({row.reason: row.times for row in mine if row.outcome is Rehearsed.REFUSED})
        assert said == after[person.name] - before[person.name], person
        assert any(row.last_matched is not None for row in mine) == (person.name in passed), person
