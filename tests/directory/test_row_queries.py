"""Rows read together: each as if it had been read alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from support.certificates import NOW, Authority
from support.directory import SQLITE_ALONE

from authz.directory import Store
from authz.directory.keys import HostKey, RegistrationsByKey, RegistrationsKey, RenewalsKey, TrustKey, UserKey
from authz.directory.row_queries import NEWEST_LEAVES, Trust, read_rows
from authz.directory.schema import registrations
from authz.model import LeafKeys, Organization, RegistrationKind
from authz.pki import Certificate

ROOT = Authority.root()
COLUMNS = "(organization_id, user_id, sha256, der, chain, label, created_at)"
LEAVES = [Certificate.parse(ROOT.leaf(f"leaf {number}").der) for number in range(NEWEST_LEAVES + 2)]


@pytest.mark.parametrize("count", [1, 2, 3, 32, 33, 70])
@pytest.mark.slow
def test_so_many_keys_are_answered_each(store: Store, count: int) -> None:
    """In statements of 32 at most, filled up; what is not there is None."""
    for number in range(0, count, 2):
        store.add_user("acme", f"u{number}")
    keys = [UserKey(1, f"u{number}") for number in range(count)]
    with store.transaction() as connection:
        found, failed = read_rows(connection, keys)
    users = [found[key] for key in keys]
    assert [user and user.name for user in users] == [None if n % 2 else f"u{n}" for n in range(count)]  # type: ignore[attr-defined]
    assert failed == {}


def test_user_brings_all_registrations_of_the_newest_leaves(store: Store) -> None:
    """Also those of other users: a leaf's registrations are known whole or not at all."""
    store.add_user("acme", "bob")
    for leaf in LEAVES:
        store.register("acme", "alice", leaf, now=NOW)
    with store.transaction() as connection:
        connection.execute(sa.text("UPDATE registrations SET sha256 = :s WHERE id = 1"), {"s": LEAVES[-1].sha256})
        connection.execute(sa.text("UPDATE registrations SET user_id = 2 WHERE id = 1"))
        found, _ = read_rows(connection, [UserKey(1, "alice")])
    brought = {key.sha256: rows for key, rows in found.items() if isinstance(key, RegistrationsKey)}
    assert set(brought) == {leaf.sha256 for leaf in LEAVES[-NEWEST_LEAVES:]}
    assert [row.user_id for row in brought[LEAVES[-1].sha256]] == [2, 1]  # type: ignore[attr-defined]


def test_registration_of_another_kind_is_no_leaf(store: Store) -> None:
    """The log names it by another column, so that its SHA-256 would be kept when it changes."""
    store.register("acme", "alice", LEAVES[0], now=NOW)
    key = RegistrationsKey(1, LEAVES[0].sha256)
    with store.transaction() as connection:
        assert read_rows(connection, [key])[0][key]
        connection.exec_driver_sql("UPDATE registrations SET kind = 'key'")  # `spki_sha256` is there
        assert read_rows(connection, [key])[0][key] == ()


def test_leaf_that_many_share_is_read_when_it_is_asked_for(store: Store) -> None:
    """And not with each of the users: of ten thousand that takes 300 ms, and every organization waits."""
    for number in range(NEWEST_LEAVES + 1):
        store.add_user("acme", f"u{number}")
        store.register("acme", f"u{number}", LEAVES[0], now=NOW)
    store.register("acme", "u0", LEAVES[1], now=NOW)
    with store.transaction() as connection:
        found, _ = read_rows(connection, [UserKey(1, "u0"), UserKey(1, "u1")])
    assert [key.sha256 for key in found if isinstance(key, RegistrationsKey)] == [LEAVES[1].sha256]


@pytest.mark.slow
@SQLITE_ALONE
def test_user_with_a_thousand_registrations_costs_the_others_of_a_reading_nothing(store: Store) -> None:
    """Only the newest of each are looked at."""
    steps: list[None] = []
    with store.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO users VALUES (2, 1, 'bob', 'required', 1)")
        for number in range(1_000):
            values = f"VALUES (1, 2, CAST('{number}' AS BLOB), x'', x'', '', 0)"
            connection.exec_driver_sql(f"INSERT INTO registrations {COLUMNS} {values}")
        connection.connection.driver_connection.set_progress_handler(lambda: steps.append(None), 100)  # type: ignore[union-attr]
        read_rows(connection, [UserKey(1, "alice"), UserKey(1, "bob")])
    assert len(steps) < 30


def test_trust_of_each_organization_is_its_own_and_the_shared(store: Store) -> None:
    """Read in one statement, also beyond 32 of them."""
    store.add_anchors(None, [Certificate.parse(ROOT.der)])
    own = Certificate.parse(Authority.root("own").der)
    store.add_anchors("acme", [own])
    keys = [TrustKey(owner) for owner in range(1, 41)]
    with store.transaction() as connection:
        found, _ = read_rows(connection, keys)
    counts = [len(trust.anchors) for trust in found.values() if isinstance(trust, Trust)]
    assert counts == [2] + [1] * 39


def test_host_is_found_by_every_key_that_asks_for_it(store: Store, tmp_path: Path) -> None:
    """A host that was known, and the same one asked for anew; its organization lists no hosts."""
    keys = [HostKey("acme.example.test"), HostKey("acme.example.test", 1), HostKey("unknown.test")]
    with store.transaction() as connection:
        found, _ = read_rows(connection, keys)
    acme = found[keys[0]]
    assert isinstance(acme, Organization)
    assert (acme, acme.hosts, found[keys[2]]) == (found[keys[1]], (), None)


def renewals(leaf: Certificate, *identities: str) -> RenewalsKey:
    """What a leaf asks for that is not registered itself."""
    return RenewalsKey.of(1, LeafKeys(leaf.tbs_sha256, leaf.spki_sha256, identities))


def test_registrations_of_a_leafs_keys_are_read_in_one_batch_with_their_certificates(store: Store) -> None:
    """Of each key all, of whatever kind and user; of a key without any, none."""
    leaf = LEAVES[0]
    store.register("acme", "alice", leaf, now=NOW)
    key = renewals(leaf, "uri:spiffe://acme/alice", "dns:älice")
    with store.transaction() as connection:
        for identity in ("uri:spiffe://acme/alice", "uri:spiffe://acme/Alice"):
            named = {"kind": "identity", "identity": identity, "anchor_sha256": b"\0", "label": "", "created_at": NOW}
            connection.execute(sa.insert(registrations).values(organization_id=1, user_id=1, **named))
        found, failed = read_rows(connection, [key])
    assert failed == {}
    tbs, spki, uri, dns = (found[each] for each in key.keys)
    assert [(row.kind, row.der) for row in tbs] == [(RegistrationKind.CERTIFICATE, leaf.der)]  # type: ignore[attr-defined]
    assert spki == tbs
    assert [(row.kind, row.identity) for row in uri] == [("identity", "uri:spiffe://acme/alice")]  # type: ignore[attr-defined]
    assert dns == ()


def test_row_that_makes_no_sense_fails_the_leafs_that_ask_for_it(store: Store) -> None:
    """And no other."""
    for leaf in LEAVES[:2]:
        store.register("acme", "alice", leaf, now=NOW)
    with store.transaction() as connection:
        connection.execute(sa.update(registrations).where(registrations.c.id == 1).values(chain=b"\1"))
        _, failed = read_rows(connection, [renewals(LEAVES[0]), renewals(LEAVES[1])])
    assert renewals(LEAVES[0]) in failed
    assert renewals(LEAVES[1]) not in failed


def test_leaf_of_another_organization_is_not_read(store: Store) -> None:
    """Whatever it has in common."""
    store.add_organization(Organization(0, "other", ("other.example.test",)))
    store.add_user("other", "alice")
    store.register("other", "alice", LEAVES[0], now=NOW)
    key = renewals(LEAVES[0])
    with store.transaction() as connection:
        found, _ = read_rows(connection, [key])
    assert [found[each] for each in key.keys] == [(), ()]
    assert isinstance(key.keys[0], RegistrationsByKey)
