"""What single users have, and what others have registered of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from support.certificates import NOW
from support.leaf_ends import DAY, END, EPOCH
from support.sightings import add_registration, add_sighting

from authz.directory import Store
from authz.directory.holders import SharedRow, holders, longest
from authz.model import Organization


def test_holder_has_what_has_not_ended_and_what_was_seen_lately(store: Store) -> None:
    """A user who is switched off is left out."""
    number = add_registration(store, "acme", "alice", NOW)
    add_registration(store, "acme", "alice", NOW, retired_at=NOW)
    add_registration(store, "acme", "alice", NOW, valid_until=NOW)
    add_sighting(store, "acme", "alice", NOW, sha256=b"s" * 32, not_after=END)
    add_sighting(store, "acme", "alice", NOW - 15 * DAY, not_after=END)
    alice = store.user("acme", "alice")
    with store.reading() as connection:
        holder = holders(connection, [alice.id], NOW)[alice.id]
    assert (holder.name, holder.enforcement) == ("alice", "required")
    assert [row.id for row in holder.registrations] == [number]
    assert [row.sha256 for row in holder.sightings] == [b"s" * 32]
    store.set_user(replace(alice, active=False))
    with store.reading() as connection:
        assert holders(connection, [alice.id], NOW) == {}


def test_what_is_registered_of_a_sighting_is_read_where_anybody_s_counts(store: Store) -> None:
    """Of whatever user, ended or not, and once however often; of a key or certificate of the same organization."""
    store.add_organization(Organization(0, "globex", ("globex.example.test",)))
    for owner, name in (("acme", "bob"), ("acme", "carol"), ("globex", "zoe")):
        store.add_user(owner, name)
    shown = add_sighting(store, "acme", "bob", NOW, not_after=END, spki_sha256=b"k" * 32)
    for owner, name in (("acme", "alice"), ("acme", "carol"), ("globex", "zoe")):
        add_registration(store, owner, name, NOW, sha256=shown, retired_at=NOW - DAY, chain_sha256=b"c" * 32)
    add_registration(store, "acme", "alice", NOW, kind="key", spki_sha256=b"k" * 32, valid_until=END)
    add_registration(store, "globex", "zoe", NOW, kind="key", spki_sha256=b"k" * 32)
    bob = store.user("acme", "bob")
    with store.reading() as connection:
        shared = holders(connection, [bob.id], NOW, [bob.organization_id])[bob.id].shared
        assert holders(connection, [bob.id], NOW)[bob.id].shared == {}
    before, end = ((at - EPOCH) // timedelta(microseconds=1) for at in (NOW - DAY, END))
    assert shared == {
        shown: [SharedRow(None, None, before, b"c" * 32)],
        b"k" * 32: [SharedRow(None, end, None, None)],
    }


def test_few_of_thousands_of_registrations_of_one_certificate_are_looked_at() -> None:
    """Those that no other covers."""
    periods = [SharedRow(start, end, None, None) for start in range(2, 60) for end in range(60, 80)]
    assert longest(periods) == [SharedRow(2, 79, None, None)]
    assert longest([*periods, SharedRow(79, None, 99, b"c")]) == [
        SharedRow(2, 79, None, None),
        SharedRow(79, None, 99, b"c"),
    ]
