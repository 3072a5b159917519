"""What one user presented last, as operators look it up."""

from __future__ import annotations

from datetime import timedelta

from support.certificates import NOW
from support.sightings import add_sighting

from authz.directory import Store
from authz.directory.last_seen_rows import SeenLeaf, leaves_seen_of

DAY = timedelta(days=1)


def test_leaves_of_a_user_are_read_the_one_seen_last_first(store: Store) -> None:
    """With what matched or refused each, and of that user alone."""
    store.add_user("acme", "bob")
    add_sighting(store, "acme", "bob", NOW, not_after=NOW + DAY)
    first = add_sighting(store, "acme", "alice", NOW - DAY, not_after=NOW + DAY, matched="certificate")
    second = add_sighting(
        store, "acme", "alice", NOW, not_after=NOW + DAY, refused_by="certificate_required", refusals=2
    )
    with store.reading() as connection:
        assert leaves_seen_of(connection, store.user("acme", "alice").id) == [
            SeenLeaf(second, "envoy", NOW, NOW, NOW + DAY, "", "certificate_required", 2),
            SeenLeaf(first, "envoy", NOW - DAY, NOW - DAY, NOW + DAY, "certificate", "", 0),
        ]
