"""Who stops by the end of what others have registered."""

from __future__ import annotations

from dataclasses import replace

from support.certificates import NOW
from support.directory import SQLITE_ALONE
from support.leaf_ends import DAY, END, ending, moment
from support.query_plans import plans
from support.sightings import add_registration, add_sighting

from authz.directory import Store
from authz.directory.endings import leaf_ends, owners
from authz.model import BindingScope, Enforcement, RegistrationKind


def test_registration_of_another_user_ends_what_was_presented_where_anybody_s_counts(store: Store) -> None:
    """By the certificate or its key; not behind the certificate's own end, nor for who needs none."""
    for name in ("bob", "carol", "dave"):
        store.add_user("acme", name)
    store.set_user(replace(store.user("acme", "dave"), enforcement=Enforcement.OBSERVE))
    own = {"not_after": NOW + 90 * DAY, "spki_sha256": b"k" * 32}
    shown = {name: add_sighting(store, "acme", name, NOW, **own) for name in ("bob", "carol", "dave")}
    add_registration(store, "acme", "alice", NOW, sha256=shown["bob"], retired_at=END, **own)
    add_registration(store, "acme", "alice", NOW, sha256=shown["dave"], valid_until=END, **own)
    add_registration(store, "acme", "alice", NOW, kind="key", valid_until=END + DAY, retired_at=END + DAY, **own)
    acme = store.organization("acme")
    assert {leaf.name for leaf in ending(store)} == {"alice"}
    kinds = (RegistrationKind.CERTIFICATE, RegistrationKind.KEY)
    store.set_organization(replace(acme, binding_scope=BindingScope.ORGANIZATION, binding_kinds=kinds))
    found = [(leaf.name, leaf.kind, leaf.sha256, moment(leaf.at)) for leaf in ending(store) if leaf.name != "alice"]
    assert found == [
        ("bob", "certificate", shown["bob"], END),
        ("bob", "key", shown["bob"], END + DAY),
        ("carol", "key", shown["carol"], END + DAY),
    ]


def test_registrations_of_others_end_what_was_presented_where_there_is_a_gap_between_them(store: Store) -> None:
    """Not where one begins as, or before, another ends."""
    store.add_user("acme", "bob")
    store.set_organization(replace(store.organization("acme"), binding_scope=BindingScope.ORGANIZATION))
    own = {"sha256": add_sighting(store, "acme", "bob", NOW, not_after=NOW + 90 * DAY), "not_after": NOW + 90 * DAY}
    for start, end in ((None, 2), (1, 4), (4, 6), (8, 9), (9, 12), (10, 11)):
        begins = {} if start is None else {"valid_from": NOW + start * DAY}
        add_registration(store, "acme", "alice", NOW, valid_until=NOW + end * DAY, **begins, **own)
    assert [(moment(leaf.at) - NOW).days for leaf in ending(store) if leaf.name == "bob"] == [6, 12]


def test_only_the_last_end_of_one_certificate_is_looked_at(store: Store) -> None:
    """However many have registered it: of each user who showed it there is one end, by another's registration."""
    shown = [add_sighting(store, "acme", "alice", NOW, not_after=END + 9 * DAY)]
    for number in range(5):
        store.add_user("acme", f"u{number}")
        add_registration(store, "acme", f"u{number}", NOW, sha256=shown[0], valid_until=END + number * DAY)
        add_sighting(store, "acme", f"u{number}", NOW, sha256=shown[0], not_after=END + 9 * DAY)
    store.set_organization(replace(store.organization("acme"), binding_scope=BindingScope.ORGANIZATION))
    found = {(leaf.name, moment(leaf.at)) for leaf in ending(store) if leaf.registration is None and leaf.kind}
    assert found == {(name, END + 4 * DAY) for name in ("alice", "u0", "u1", "u2", "u3")}
    add_registration(store, "acme", "u0", NOW, sha256=shown[0])
    assert [leaf for leaf in ending(store) if leaf.registration is None and leaf.kind] == []


@SQLITE_ALONE
def test_what_others_have_registered_is_looked_up_by_certificate_or_key(store: Store) -> None:
    """An organization in which everybody's own ends has thousands of them."""
    kinds = (RegistrationKind.CERTIFICATE, RegistrationKind.KEY)
    acme = store.organization("acme")
    store.set_organization(replace(acme, binding_scope=BindingScope.ORGANIZATION, binding_kinds=kinds))
    steps = plans(store, lambda connection: leaf_ends(connection, owners(connection), NOW, NOW + 30 * DAY))
    shared = steps[steps.index("MATERIALIZE run_ends") :]
    found = [step for step in shared if "AUTOMATIC" not in step and step.startswith(("SEARCH reg", "SEARCH last_seen"))]
    assert {step.partition(" (")[2] for step in found} == {
        "sha256=?)",
        "organization_id=? AND spki_sha256=?)",
        "organization_id=? AND last_seen>?)",
    }
    assert "SEARCH run_ends USING AUTOMATIC COVERING INDEX (organization=? AND digest=?)" in shared
