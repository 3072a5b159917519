"""What ends within a period, whose it is, and who is refused from then on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.certificates import NOW
from support.directory import SQLITE_ALONE
from support.query_plans import plans, scanned
from support.sightings import add_registration, add_sighting

from authz.directory import Store
from authz.directory.endings import (
    AlikeUser,
    Asked,
    LeafEnd,
    SharedRow,
    UserKind,
    count_users_by_path,
    count_users_of_paths,
    holders,
    kinds_of_users,
    leaf_ends,
    longest,
    owners,
    paths_in_use,
    stored_chains,
    users_of_paths,
)
from authz.model import BindingScope, Enforcement, Organization, RegistrationKind

DAY = timedelta(days=1)
CA, ANCHOR, OTHER = b"c" * 32, b"a" * 32, b"b" * 32
END = NOW + 5 * DAY
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ending(store: Store, days: int = 30) -> list[LeafEnd]:
    """What ends within so many days."""
    with store.reading() as connection:
        return list(leaf_ends(connection, owners(connection), NOW, NOW + days * DAY))


def moment(micros: int) -> datetime:
    """Of a column."""
    return EPOCH + timedelta(microseconds=micros)


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
    monkeypatch.setattr("authz.directory.endings.MAX_KINDS", 1)
    monkeypatch.setattr("authz.directory.endings.AT_ONCE", 2)
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


def test_different_chains_of_registrations_are_listed_once(store: Store) -> None:
    """By the SHA-256 of all of a chain."""
    for chain, digest in ((b"one", b"1" * 32), (b"two", b"2" * 32), (b"one", b"1" * 32), (b"", None)):
        add_registration(store, "acme", "alice", NOW, chain=chain, chain_sha256=digest)
    with store.reading() as connection:
        assert list(stored_chains(connection, 9)) == [(b"1" * 32, b"one"), (b"2" * 32, b"two")]
        assert list(stored_chains(connection, 1)) == [(b"1" * 32, b"one")]


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
