"""What ends within a period, whose it is, and who is refused from then on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import NOW
from support.directory import SQLITE_ALONE
from support.leaf_ends import ANCHOR, DAY, END, ending, moment
from support.query_plans import plans, scanned
from support.sightings import add_registration, add_sighting

from authz.directory import Store
from authz.directory.endings import leaf_ends, owners
from authz.directory.holders import holders
from authz.directory.paths_seen import (
    paths_in_use,
)
from authz.directory.user_kinds import kinds_of_users
from authz.model import Organization, RegistrationKind


@pytest.mark.parametrize("column", ["not_after", "valid_until", "retired_at"])
def test_registration_ends_by_whichever_of_its_dates_comes_first(store: Store, column: str) -> None:
    """Once, with its number and its user; a certificate is good through the second of its notAfter."""
    dates = {"not_after": NOW + 9 * DAY, "valid_until": NOW + 9 * DAY, "retired_at": NOW + 9 * DAY}
    number = add_registration(store, "acme", "alice", NOW, **{**dates, column: NOW + 5 * DAY})
    [leaf] = ending(store)
    alice = store.user("acme", "alice")
    assert (leaf.organization, leaf.user, leaf.registration) == (alice.organization_id, alice.id, number)
    assert (moment(leaf.at), leaf.since - leaf.at) == (END, 1_000_000 if column == "not_after" else 0)
    assert ending(store, days=4) == []


def test_registration_with_equal_dates_is_one_line(store: Store) -> None:
    """Whichever of the dates it is counted by."""
    add_registration(
        store, "acme", "alice", NOW, **dict.fromkeys(("not_after", "valid_until", "retired_at"), NOW + DAY)
    )
    assert len(ending(store)) == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"not_after": NOW - DAY},
        {"not_after": NOW + DAY, "retired_at": NOW - DAY},
        {"not_after": NOW + DAY, "valid_until": NOW - DAY},
        {"not_after": NOW + 31 * DAY},
        {},
    ],
)
def test_what_has_ended_or_lasts_longer_is_no_line(store: Store, columns: dict[str, object]) -> None:
    """Expired, retired, over, later, or without a date."""
    add_registration(store, "acme", "alice", NOW, **columns)
    assert ending(store) == []


@pytest.mark.parametrize("kind", [RegistrationKind.KEY, RegistrationKind.IDENTITY])
def test_key_and_name_outlive_the_certificate_that_they_came_with(store: Store, kind: RegistrationKind) -> None:
    """They end by their own period alone."""
    named = {"kind": kind, "spki_sha256": b"k" * 32, "identity": "dns:a", "anchor_sha256": ANCHOR}
    add_registration(store, "acme", "alice", NOW, not_after=END, **named)
    assert ending(store) == []
    add_registration(
        store, "acme", "alice", NOW, valid_until=END, **{**named, "spki_sha256": b"l" * 32, "identity": "dns:b"}
    )
    assert len(ending(store)) == 1


@pytest.mark.parametrize("early", [DAY, 0 * DAY])
def test_what_was_presented_is_a_line_unless_a_registration_ends_with_it(store: Store, early: timedelta) -> None:
    """One that was retired before, or a second before the certificate is out of date, does not end with it."""
    digest = add_sighting(store, "acme", "alice", NOW - DAY, not_after=END)
    add_sighting(store, "acme", "alice", NOW - 15 * DAY, not_after=END)
    [leaf] = ending(store)
    assert (leaf.registration, leaf.sha256) == (None, digest)
    add_registration(store, "acme", "alice", NOW, sha256=digest, not_after=END, retired_at=END - early)
    assert [leaf.registration is None for leaf in ending(store)] == [False, True]
    add_registration(store, "acme", "alice", NOW, sha256=digest, not_after=END)
    assert [leaf.registration is None for leaf in ending(store)] == [False, False]


def test_nothing_of_what_is_switched_off_is_a_line(store: Store) -> None:
    """A user, or the organization."""
    add_registration(store, "acme", "alice", NOW, not_after=END)
    add_sighting(store, "acme", "alice", NOW, not_after=END)
    user = store.user("acme", "alice")
    store.set_user(replace(user, active=False))
    assert ending(store) == []
    store.set_user(user)
    store.set_organization(replace(store.organization("acme"), active=False))
    assert ending(store) == []


def test_lines_of_an_organization_are_in_the_order_of_time(store: Store) -> None:
    """Whatever they end by; organizations by name."""
    store.add_organization(Organization(0, "aaa", ("aaa.example.test",)))
    store.add_user("aaa", "zoe")
    add_registration(store, "aaa", "zoe", NOW, not_after=NOW + 8 * DAY)
    add_registration(store, "acme", "alice", NOW, not_after=NOW + 3 * DAY)
    add_registration(store, "acme", "alice", NOW, valid_until=NOW + 2 * DAY)
    add_sighting(store, "acme", "alice", NOW, not_after=NOW + 1 * DAY)
    first = store.organization("aaa").id
    found = [(leaf.organization == first, (moment(leaf.at) - NOW).days) for leaf in ending(store)]
    assert found == [(True, 8), (False, 1), (False, 2), (False, 3)]


@SQLITE_ALONE
def test_what_does_not_end_is_not_read(store: Store) -> None:
    """Every step is a range of an index, or a look-up; only the organizations are gone through."""
    add_registration(store, "acme", "alice", NOW, not_after=END)
    steps = plans(store, lambda connection: leaf_ends(connection, owners(connection), NOW, NOW + 30 * DAY))
    assert [step for step in scanned(steps) if "organizations" not in step] == []
    assert sum("_organization_id_" in step and ">" in step for step in steps) >= 4
    # What ends by its certificate, most of all that does, is no row's but the index's.
    assert any("COVERING INDEX ix_registrations_organization_id_not_after" in step for step in steps)
    assert any("path_user_id (path>?)" in step for step in plans(store, paths_in_use))
    assert scanned(plans(store, lambda connection: [holders(connection, [1], NOW)])) == []
    steps = plans(store, lambda connection: kinds_of_users(connection, {}, NOW))
    assert "SCAN users USING INDEX sqlite_autoindex_users_1" in steps
    assert not any("TEMP B-TREE" in step for step in steps)
