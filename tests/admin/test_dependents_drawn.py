"""Drawn worlds: who `dependents` says stops without a CA, and whom the service refuses once it is gone."""

from __future__ import annotations

import asyncio
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import NOW
from support.radar_world import ORGANIZATIONS, Ca, Leaf, Person, Scene, World, ca_of, drawn, worlds

from authz.admin.dependents import dependents
from authz.model import Enforcement, RegistrationKind


def passing(scene: Scene, without: bytes = b"") -> set[str]:
    """Who passes with something registered or seen; clients send no CA of that SHA-256."""

    async def asked() -> set[str]:
        seen, passed = scene.seen(), set[str]()
        async with scene.service() as (service, _, _):
            for person in scene.world.people:
                for chain in scene.has(person, seen):
                    if await scene.passes(service, person, [one for one in chain if one.sha256 != without]):
                        passed.add(person.name)
        return passed

    return asyncio.run(asked())


def stops(world: World, ca: Ca) -> tuple[dict[str, bool], set[str], set[str]]:
    """Who depends on a stored CA and whether each stops; who passes with it, and who without."""
    with TemporaryDirectory() as folder:
        scene, sha256 = Scene(world, folder), ca_of(ca).sha256
        asyncio.run(scene.show())
        before = passing(scene)
        with scene.store.reading() as connection:
            listed = [one for name in ORGANIZATIONS for one in dependents(connection, name, sha256, NOW)]
        for owner in ca.owners:
            remove = scene.store.remove_anchor if ca.name == ca.issuer else scene.store.remove_intermediate
            remove(owner, sha256)
        after = passing(scene, sha256)
        scene.store.close()
    return {one.user: one.stops for one in listed}, before, after


def may_go_on(person: Person, leaf: Leaf) -> bool:
    """Whether a user who is named may go on: by what comes with a certificate without an active registration.

    Or by another path than one to the anchor of its name, which is compared only where that is required.
    """
    sends = leaf.seen and (leaf.kind is None or leaf.valid_from is not None)
    return sends or (leaf.kind is RegistrationKind.IDENTITY and person.enforcement is not Enforcement.REQUIRED)


@pytest.mark.fuzz
@drawn
@given(worlds(), st.integers(0, 5))
def test_user_who_stops_without_a_ca_is_named_and_no_other(world: World, number: int) -> None:
    """Of the users who pass now by what is registered or was seen."""
    stored = [ca for ca in world.cas if ca.stored]
    ca = stored[number % len(stored)]
    listed, before, after = stops(world, ca)
    named, refused = {name for name in before if listed.get(name)}, before - after
    unknown = {one.name for one in world.people if any(may_go_on(one, leaf) for leaf in one.leaves)}
    assert refused <= named <= refused | unknown, (ca, listed)
