"""Whose source is tried next: neither slow servers nor many names keep another organization waiting."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable

import pytest

from authz.crls.fair_queue import MAX_ATTEMPTS, TurnQueue, server_of
from authz.crls.sources import CrlSource
from authz.model import CrlSourceKind

EVIL, ACME, GLOBEX = 1, 2, 3


class Scene:
    """Sources that wait for their turn, and those whose turn it is, which lasts until they are `done`."""

    def __init__(self) -> None:
        self.turns = TurnQueue()
        self.under_way: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.over: dict[str, asyncio.Event] = {}

    async def want(self, organizations: Iterable[int], *locations: str, awaited: bool = False) -> list[CrlSource]:
        """Points that these organizations name are to be tried."""
        made = [CrlSource(f"http://{one}", CrlSourceKind.POINT, awaited=awaited) for one in locations]
        for one, location in zip(made, locations, strict=True):
            one.authorities = {organization: {} for organization in organizations}
            self.over[location] = asyncio.Event()
            self.tasks[location] = asyncio.create_task(self._try(one, location))
        await settle()
        return made

    async def _try(self, source: CrlSource, location: str) -> None:
        async with self.turns.turn(source):
            self.under_way.append(location)
            try:
                await self.over[location].wait()
            finally:
                self.under_way.remove(location)

    async def done(self, *locations: str) -> None:
        """Their tries are over."""
        for one in locations:
            self.over[one].set()
        await settle()


async def settle() -> None:
    """Let every task go on as far as it can."""
    for _ in range(9):
        await asyncio.sleep(0)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A scene in which nothing is tried; at its end nothing waits, and nothing is remembered."""
    made = Scene()
    yield made
    for one in made.tasks.values():
        one.cancel()
    await asyncio.gather(*made.tasks.values(), return_exceptions=True)
    turns = made.turns
    assert not any((turns._waiting, turns._under_way, turns._busy, turns._parties, turns._servers))


async def test_source_takes_the_first_turn_of_any_organization_that_names_it(scene: Scene) -> None:
    """Behind 63 slow points of one of them too, and however late the other names it."""
    await scene.want([EVIL], *(f"slow{number}/" for number in range(63)))
    [shared] = await scene.want([EVIL], "acme/")
    assert "acme/" not in scene.under_way
    shared.authorities[ACME] = {}
    scene.turns.look(shared)
    await settle()
    assert "acme/" in scene.under_way
    assert len(scene.under_way) == 3


async def test_organization_has_two_tries_at_once_each_at_another_server(scene: Scene) -> None:
    """A slow server of its own keeps its other servers waiting as little as anybody's."""
    await scene.want([EVIL], "a/1", "a/2", "a/3", "b/1", "c/1")
    assert scene.under_way == ["a/1", "b/1"]
    await scene.done("b/1")
    assert scene.under_way == ["a/1", "c/1"]
    await scene.done("c/1")
    assert scene.under_way == ["a/1"]
    await scene.done("a/1")
    assert scene.under_way == ["a/2"]


async def test_server_has_two_tries_at_once_which_go_round_the_organizations(scene: Scene) -> None:
    """One source of each in turn, however many one of them has, and whatever it calls the server."""
    await scene.want([EVIL], *(f"ca:80/{number}" for number in range(9)))
    await scene.want([ACME], "CA/a", "ca/b")
    await scene.want([GLOBEX], "ca./g")
    assert scene.under_way == ["ca:80/0", "CA/a"]
    await scene.done("ca:80/0")
    assert scene.under_way == ["CA/a", "ca./g"]
    await scene.done("CA/a")
    assert scene.under_way == ["ca./g", "ca:80/1"]
    await scene.done("ca./g")
    assert scene.under_way == ["ca:80/1", "ca/b"]


async def test_turn_at_a_server_is_not_lost_to_turns_at_other_servers(scene: Scene) -> None:
    """An organization that is served elsewhere meanwhile is not overtaken for ever by those that want this one only."""
    await scene.want([EVIL], *(f"ca/e{number}" for number in range(9)))
    await scene.want([GLOBEX], *(f"ca/g{number}" for number in range(9)))
    await scene.want([ACME], "ca/a", *(f"own/{number}" for number in range(9)))
    assert scene.under_way == ["ca/e0", "ca/g0", "own/0"]
    await scene.done("own/0")
    await scene.done("own/1")
    await scene.done("ca/e0")
    assert "ca/a" in scene.under_way


async def test_organizations_that_use_up_all_tries_keep_another_waiting_for_one_round(scene: Scene) -> None:
    """That takes 24 of them, of which half have one try alone; 23 delay no other."""
    for one in range(10, 9 + MAX_ATTEMPTS * 3 // 4):
        await scene.want([one], *(f"s{one}-{number}/" for number in range(20)))
    assert len(scene.under_way) == MAX_ATTEMPTS - 1
    await scene.want([ACME], "acme/")
    assert scene.under_way[-1] == "acme/"
    await scene.done("acme/")
    await scene.want([100], "last/")
    assert len(scene.under_way) == MAX_ATTEMPTS
    await scene.want([ACME], "acme/")
    for one in list(scene.under_way):
        await scene.done(one)
    assert "acme/" in scene.under_way


async def test_what_a_check_waits_for_goes_before_its_organizations_other_points_alone(scene: Scene) -> None:
    """Another organization's refreshing does not wait for it."""
    await scene.want([EVIL], "a/1", "b/1", "c/1", "d/1")
    await scene.want([EVIL], "d/now", awaited=True)
    [late] = await scene.want([EVIL], "c/now")
    late.awaited = True
    scene.turns.look(late)
    await scene.done("a/1", "b/1")
    assert scene.under_way == ["c/now", "d/now"]
    await scene.want([GLOBEX], "d/g")
    await scene.want([EVIL], "d/then", awaited=True)
    await scene.want([EVIL], "c/then", awaited=True)
    await scene.done("c/now")
    assert scene.under_way == ["d/now", "d/g", "c/then"]
    await scene.want([ACME], "d/acme")
    await scene.done("d/now")
    assert scene.under_way == ["d/g", "c/then", "d/acme"]


async def test_points_that_no_organization_names_take_turns_by_server(scene: Scene) -> None:
    """As those do that an earlier version kept no names for: none waits for all of another server's."""
    await scene.want([], *(f"slow/{number}" for number in range(40)))
    await scene.want([], "acme/")
    assert scene.under_way == ["slow/0", "slow/1", "acme/"]


async def test_source_that_waits_no_more_leaves_its_turn_to_the_next(scene: Scene) -> None:
    """In every queue that it waited in, and when it was just granted, too."""
    await scene.want([EVIL], "a/1")
    await scene.want([EVIL, ACME], "b/1", "b/2", "b/3")
    assert scene.under_way == ["a/1", "b/1", "b/2"]
    scene.tasks["b/3"].cancel()
    scene.over["b/1"].set()
    scene.tasks["b/2"].cancel()
    await settle()
    await scene.want([ACME], "b/4", "c/1")
    assert scene.under_way == ["a/1", "b/4", "c/1"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://ca.test/a", "HTTP://CA.test.:80/b", True),
        ("http://ca.test/", "https://ca.test/", False),
        ("http://ca.test:443/", "https://ca.test/", True),
        ("http://ca.test:8080/", "http://ca.test/", False),
        ("http://[::1]/", "http://[0:0::1]:80/", True),
        ("http://user@ca.test/", "http://user@ca.test/", True),
        ("http://user@ca.test/", "http://ca.test/", False),
    ],
)
def test_server_is_host_and_port_however_they_are_spelled(one: str, other: str, same: bool) -> None:
    """What is not asked at all stands for itself."""
    assert (server_of(one) == server_of(other)) is same


@pytest.mark.parametrize("seed", range(5))
async def test_no_try_waits_for_which_there_is_room(scene: Scene, seed: int) -> None:
    """Whatever begins and ends in whatever order: of those that wait none could begin."""
    chance = random.Random(seed)
    turns, seen = scene.turns, 0
    for number in range(400):
        if scene.under_way and chance.random() < 0.45:
            await scene.done(chance.choice(scene.under_way))
        else:
            organizations = chance.sample(range(1, 30), chance.choice((0, 1, 1, 1, 2)))
            await scene.want(organizations, f"s{chance.randrange(25)}/{number}", awaited=chance.random() < 0.2)
        seen = max(seen, len(turns._under_way))
        could = [one for one, lanes in turns._parties.items() for server in lanes if turns._may(one, server)]
        assert not could or len(turns._under_way) == MAX_ATTEMPTS
        assert set(turns._waiting) == {
            one for lanes in turns._parties.values() for lane in lanes.values() for one in lane
        }
    assert seen > MAX_ATTEMPTS // 2
