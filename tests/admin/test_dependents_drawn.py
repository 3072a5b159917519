"""Drawn worlds: who `dependents` says stops without a CA, and who is refused once it is removed."""

from __future__ import annotations

import asyncio
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from support.certificates import NOW
from support.radar_world import Scene, World, ca_of, drawn, worlds

from authz.admin.authorities import remove
from authz.admin.dependents import Dependent, dependents
from authz.directory.authorities import ANCHORS, INTERMEDIATES
from authz.model import Enforcement


def found(scene: Scene, sha256: bytes) -> dict[str, Dependent]:
    """By the user's name."""
    with scene.store.reading() as connection:
        return {one.user: one for one in dependents(connection, None, sha256, NOW)}


@pytest.mark.fuzz
@drawn
@given(worlds())
def test_user_is_refused_without_a_ca_if_it_is_said_to_stop(world: World) -> None:
    """And no other is: of each stored CA in turn, which goes from every organization."""
    for ca in (ca for ca in world.cas if ca.stored):
        with TemporaryDirectory() as folder:
            scene = Scene(world, folder)
            seen = asyncio.run(scene.show())
            before, said = asyncio.run(scene.passing(seen)), found(scene, ca_of(ca).sha256)
            for owner in ca.owners:
                remove(scene.store, ANCHORS if ca.name == ca.issuer else INTERMEDIATES, owner, ca_of(ca).sha256)
            after = asyncio.run(scene.passing(seen))
            scene.store.close()
        for person in world.people:
            mine = said.get(person.name)
            refused = before[person.name] and not after[person.name]
            assert not refused or (mine is not None and mine.stops), (ca, person.name, mine)
            # Of whom none is required passes with none, and is counted for what it may show; and what comes with a
            # certificate that has no active registration is not known.
            shows = person.enforcement is Enforcement.REQUIRED or any(name == person.name for name, _ in seen)
            inactive = any(leaf.seen and (leaf.kind is None or leaf.valid_from) for leaf in person.leaves)
            known = not (scene.carried and inactive)
            assert not (shows and known and mine and mine.stops and after[person.name]), (ca, person.name, mine)
