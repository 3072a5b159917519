"""The paths on which users were seen, and the CAs that came with registrations."""

from __future__ import annotations

from support.certificates import NOW
from support.leaf_ends import ANCHOR, CA, DAY, OTHER
from support.sightings import add_registration, add_sighting

from authz.directory import Store
from authz.directory.paths_seen import (
    count_users_by_path,
    count_users_of_paths,
    paths_in_use,
    stored_chains,
    users_of_paths,
)


def test_users_seen_lately_below_a_ca_are_counted(store: Store) -> None:
    """Each once; carol was not seen lately."""
    for name in ("bob", "carol"):
        store.add_user("acme", name)
    for name, path in (("alice", CA + ANCHOR), ("bob", CA + ANCHOR), ("alice", CA + OTHER)):
        add_sighting(store, "acme", name, NOW - DAY, not_after=NOW + 90 * DAY, path=path)
    add_sighting(store, "acme", "carol", NOW - 20 * DAY, not_after=NOW + 90 * DAY)
    acme = store.organization("acme").id
    with store.reading() as connection:
        assert sorted(paths_in_use(connection)) == [(CA, ANCHOR), (CA, OTHER)]
        assert users_of_paths(connection, [(CA, ANCHOR)], NOW) == {acme: 2}
        assert users_of_paths(connection, [(CA, ANCHOR), (CA, OTHER)], NOW) == {acme: 2}
        assert users_of_paths(connection, [], NOW) == {}
        assert count_users_by_path(connection) == {(CA, ANCHOR): 3, (CA, OTHER): 1}
        assert count_users_of_paths(connection, [(CA, ANCHOR), (CA, OTHER)]) == 3


def test_different_chains_of_registrations_are_listed_once(store: Store) -> None:
    """By the SHA-256 of all of a chain."""
    for chain, digest in ((b"one", b"1" * 32), (b"two", b"2" * 32), (b"one", b"1" * 32), (b"", None)):
        add_registration(store, "acme", "alice", NOW, chain=chain, chain_sha256=digest)
    with store.reading() as connection:
        assert list(stored_chains(connection, 9)) == [(b"1" * 32, b"one"), (b"2" * 32, b"two")]
        assert list(stored_chains(connection, 1)) == [(b"1" * 32, b"one")]
