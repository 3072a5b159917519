"""Drawn worlds: who `expiry` says stops, and who is refused when the service's clock is set forward day by day."""

from __future__ import annotations

import asyncio
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from support.certificates import NOW
from support.radar_world import DAY, HOUR, LAST, Scene, World, drawn, worlds

from authz.admin.expiry import stopping


def named(scene: Scene) -> set[tuple[str, int]]:
    """Who stops by `expiry`, and before which day's check."""
    with scene.store.reading() as connection:
        ends = list(stopping(connection, NOW, NOW + LAST * DAY + HOUR / 2))
    return {(end.user, (end.at - NOW).days) for end in ends if end.at is not None}


@pytest.mark.fuzz
@drawn
@given(worlds())
def test_no_user_stops_who_is_not_named_and_none_that_is_named_goes_on(world: World) -> None:
    """What ends on a day is refused at that day's check, an hour later."""
    with TemporaryDirectory() as folder:
        scene = Scene(world, folder)
        days = asyncio.run(scene.days())
        stops = named(scene)
        scene.store.close()
    for person in world.people:
        passed = [day[person.name] for day in days]
        stopped = {day for day in range(1, LAST + 1) if passed[day - 1] and not passed[day]}
        mine = {day for name, day in stops if name == person.name}
        if scene.carried and any(leaf.kind is None and leaf.seen and leaf.sent for leaf in person.leaves):
            # What else such a client sends is not known: by another certificate of the CA that ends it goes on longer.
            assert all(any(day <= stop for day in mine) for stop in stopped), (person.name, passed, mine)
        else:
            assert stopped <= mine or scene.passes_by_another_s(person), (person.name, passed, mine)
            assert not any(passed[day] for day in mine), (person.name, passed, mine)
