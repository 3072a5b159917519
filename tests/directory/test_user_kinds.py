"""Which users are alike, and which are not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import NOW
from support.leaf_ends import ANCHOR, CA, DAY, END, EPOCH, OTHER
from support.sightings import add_registration, add_sighting

from authz.directory import Store
from authz.directory.endings import owners
from authz.directory.user_kinds import AlikeUser, Asked, UserKind, kinds_of_users
from authz.model import BindingScope, Enforcement, Organization


def kinds(store: Store, *days: int) -> dict[str, int]:
    """The number of each user's kind, at moments so many days from now."""
    moments = [(NOW + day * DAY - EPOCH) // timedelta(microseconds=1) for day in days]
    with store.reading() as connection:
        known = owners(connection)
        [alike, of_one] = [
            numbered(kinds_of_users(connection, dict.fromkeys(asked, Asked(None, moments)), NOW))
            for asked in (known, [*known, 0])
        ]
    assert alike == of_one
    return alike


def numbered(some: Iterable[tuple[list[UserKind], list[AlikeUser]]]) -> dict[str, int]:
    """By name, in the order in which kinds are new."""
    numbers = dict[UserKind, int]()
    names = dict[str, int]()
    for new, users in some:
        numbers |= {kind: number for number, kind in enumerate(new, len(numbers))}
        names |= {user.name: numbers[user.kind] for user in users}
    return names


def test_kind_has_the_issuers_and_paths_of_what_its_users_have(store: Store) -> None:
    """None for the issuer of a key that was registered without a certificate, and nothing of who has nothing."""
    store.set_user(replace(store.user("acme", "alice"), enforcement=Enforcement.OBSERVE))
    store.add_user("acme", "nothing")
    add_registration(store, "acme", "alice", NOW, issuer=b"i")
    add_registration(store, "acme", "alice", NOW, kind="key", spki_sha256=b"k" * 32)
    for path in (CA + ANCHOR, OTHER):
        add_sighting(store, "acme", "alice", NOW, path=path, not_after=END)
    acme = store.organization("acme").id
    with store.reading() as connection:
        [(kinds_, users_)] = kinds_of_users(connection, {acme: Asked(None, [0])}, NOW)
    assert [user.kind for user in users_] == kinds_
    assert [(kind.issuers, kind.paths) for kind in kinds_] == [({b"i", None}, {CA + ANCHOR, OTHER}), (set(), set())]


def test_users_of_organizations_with_the_same_cas_are_alike(store: Store) -> None:
    """And of those that are not asked for none is there."""
    for name in ("one", "two", "three", "four"):
        store.add_organization(Organization(0, name, (f"{name}.example.test",)))
        store.add_user(name, f"user-{name}")
        add_registration(store, name, f"user-{name}", NOW, not_after=NOW + 99 * DAY)
    asked = {store.organization(name).id: Asked(name == "three", [0]) for name in ("one", "two", "three")}
    with store.reading() as connection:
        found = numbered(kinds_of_users(connection, asked, NOW))
    assert found == {"user-one": 0, "user-two": 0, "user-three": 1}


def test_users_whose_kinds_are_too_many_are_looked_at_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its kind; what is read at once is bounded, too."""
    monkeypatch.setattr("authz.directory.user_kinds.MAX_KINDS", 1)
    monkeypatch.setattr("authz.directory.user_kinds.AT_ONCE", 2)
    for number in range(5):
        store.add_user("acme", f"u{number}")
        add_registration(store, "acme", f"u{number}", NOW, issuer=b"i%d" % (number % 2))
    acme = store.organization("acme").id
    with store.reading() as connection:
        some = [(len(new), len(users)) for new, users in kinds_of_users(connection, {acme: Asked(None, [0])}, NOW)]
        found = numbered(kinds_of_users(connection, {acme: Asked(None, [0])}, NOW))
    assert some == [(2, 2)] * 3
    assert found == {"alice": 0} | {f"u{number}": number + 1 for number in range(5)}


def test_users_are_alike_where_their_dates_are_on_the_same_side_of_each_moment(store: Store) -> None:
    """At the moment itself is a side of its own."""
    for name, end in {"a": 3, "b": 4, "c": 5, "d": 6, "e": 60, "f": 70}.items():
        store.add_user("acme", name)
        add_registration(store, "acme", name, NOW, not_after=NOW + 99 * DAY, valid_until=NOW + end * DAY)
    found = kinds(store, 5)
    assert [found[name] for name in "abcdef"] == [0, 0, found["c"], *[found["f"]] * 3]
    assert len(set(found.values())) == 4
    found = kinds(store, 5, 65)
    assert found["d"] == found["e"] != found["f"]


OTHERS: dict[str, dict[str, object]] = {
    "a kind": {"kind": "key", "spki_sha256": b"k" * 32},
    "an issuer": {"issuer": b"i"},
    "a key of the issuer": {"authority_key_id": b"k"},
    "a chain": {"chain_sha256": b"c" * 32},
    "a beginning": {"valid_from": NOW + DAY},
    "a beginning of the certificate": {"not_before": NOW + DAY},
    "an end": {"retired_at": NOW + DAY},
    "an end before": {"retired_at": NOW},
}


@pytest.mark.parametrize("columns", OTHERS.values(), ids=OTHERS)
def test_user_is_not_alike_to_one_with_something_else(store: Store, columns: dict[str, object]) -> None:
    """Nor to one with another registration more, or that showed the certificate."""
    digests = {name: b"%032d" % number for number, name in enumerate(("one", "same", "other", "two", "shown"))}
    for name, digest in digests.items():
        store.add_user("acme", name)
        own = columns if name == "other" else {}
        add_registration(store, "acme", name, NOW, **{"sha256": digest, "not_after": NOW + 99 * DAY, **own})
    add_registration(store, "acme", "two", NOW, not_after=NOW + 99 * DAY)
    add_sighting(store, "acme", "shown", NOW, sha256=digests["shown"], not_after=NOW + 99 * DAY)
    found = kinds(store, 5)
    assert found["one"] == found["same"]
    assert len({found[name] for name in digests}) == len(digests) - 1


def test_certificates_seen_make_a_user_another_where_they_count(store: Store) -> None:
    """Of whom none is required, or with what is refused to no one of the organization."""
    for name, enforcement in (("a", "required"), ("b", "required"), ("c", "observe"), ("d", "observe")):
        store.add_user("acme", name, Enforcement(enforcement))
        add_registration(store, "acme", name, NOW, not_after=NOW + 99 * DAY)
        if name in "bd":
            add_sighting(store, "acme", name, NOW, not_after=NOW + 99 * DAY)
    found = kinds(store, 5)
    assert found["a"] == found["b"]
    assert found["c"] != found["d"]
    store.set_organization(replace(store.organization("acme"), binding_scope=BindingScope.ORGANIZATION))
    found = kinds(store, 5)
    assert len({found[name] for name in "abcd"}) == 4
    for name, refused_by in (("e", ""), ("f", "refused"), ("g", "")):
        store.add_user("acme", name)
        add_registration(store, "acme", name, NOW, sha256=name.encode() * 32, not_after=NOW + 99 * DAY)
        more = {"sha256": name.encode() * 32, "refused_by": refused_by}
        add_sighting(store, "acme", name, NOW, not_after=NOW + 99 * DAY, **more)
    found = kinds(store, 5)
    assert found["e"] == found["g"] != found["f"]


def test_user_of_a_certificate_that_others_may_have_registered_is_alike_to_no_one(store: Store) -> None:
    """Where theirs count: unless it has one of its own without an end."""
    store.set_organization(replace(store.organization("acme"), binding_scope=BindingScope.ORGANIZATION))
    for name, columns in {
        "a": {},
        "b": {},
        "c": {"retired_at": NOW + 90 * DAY},
        "d": {"retired_at": NOW + 90 * DAY},
    }.items():
        store.add_user("acme", name)
        own = {"sha256": name.encode() * 32, "not_after": NOW + 99 * DAY}
        add_registration(store, "acme", name, NOW, **own, **columns)
        add_sighting(store, "acme", name, NOW, **own)
    for name in "ef":
        store.add_user("acme", name)
        add_sighting(store, "acme", name, NOW, not_after=NOW + 99 * DAY)
    found = kinds(store, 5)
    assert found["a"] == found["b"]
    assert len({found[name] for name in "bcdef"}) == 5
