"""The queries that several parts of the directory make."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.certificates import NOW, Authority

from authz.directory import Store
from authz.directory.queries import (
    MAX_CANDIDATES,
    begins,
    find,
    hosts_of,
    inserted_key,
    named_registrations,
    only,
    organization_by_host,
)
from authz.directory.schema import registrations, users
from authz.errors import Problem, StoreError
from authz.model import Organization
from authz.pki import Certificate

ALICE = Certificate.parse(Authority.root().leaf("alice").der)


def test_find_compares_every_column_that_is_named(store: Store) -> None:
    """None if one differs."""
    with store.transaction() as connection:
        assert find(connection, users, organization_id=1, name="alice") is not None
        assert find(connection, users, organization_id=2, name="alice") is None
        assert find(connection, users, organization_id=1, name="Alice") is None


def test_organization_is_found_by_each_of_its_hosts_in_canonical_form(store: Store) -> None:
    """And by no other's."""
    store.add_organization(Organization(0, "other", ("a.test", "b.test")))
    with store.transaction() as connection:
        for host, name in (("acme.example.test", "acme"), ("b.test", "other")):
            row = connection.execute(organization_by_host(host)).one()
            assert (row.name, host in set(connection.scalars(hosts_of(row.id)))) == (name, True)
        assert connection.execute(organization_by_host("c.test")).first() is None


def test_registrations_are_narrowed_by_what_is_given(store: Store) -> None:
    """By organization, user, leaf or number."""
    store.add_user("acme", "bob")
    for user in ("alice", "bob"):
        store.register("acme", user, ALICE, now=NOW)
    with store.transaction() as connection:
        for wanted, names in (
            ({}, ["alice", "bob"]),
            ({"user_id": 2}, ["bob"]),
            ({"organization_id": 1, "sha256": ALICE.sha256}, ["alice", "bob"]),
            ({"id": 1}, ["alice"]),
            ({"organization_id": 2}, []),
        ):
            rows = connection.execute(named_registrations(**wanted)).all()
            assert [row.user_name for row in rows] == names, wanted


def test_insertion_without_a_key_is_an_error() -> None:
    """Not a row that nothing can name."""
    with pytest.raises(StoreError, match="no key"):
        inserted_key(SimpleNamespace(inserted_primary_key=None))  # type: ignore[arg-type]


@pytest.mark.parametrize("digits", [1, 2, 7, 63, 64])
def test_digest_is_found_by_its_beginning_alone(store: Store, digits: int) -> None:
    """In either case of its digits, and by an odd number of them; not by another digit."""
    store.register("acme", "alice", ALICE, now=NOW)
    beginning = ALICE.sha256.hex()[:digits]
    other = beginning[:-1] + ("0" if beginning[-1] != "0" else "1")
    with store.reading() as connection:
        for text, count in ((beginning, 1), (beginning.upper(), 1), (other, 0)):
            query = named_registrations().where(begins(registrations.c.sha256, text))
            assert len(connection.execute(query).all()) == count


@pytest.mark.parametrize("text", ["", "g", "0x", "f" * 65, " ff", "ff\n", "\u0661", "%", "_"])
def test_text_that_begins_no_digest_is_refused(text: str) -> None:
    """It is no pattern, and nothing of it reaches the query."""
    with pytest.raises(StoreError, match="no SHA-256 begins with"):
        begins(registrations.c.sha256, text)


def test_one_digest_is_taken_and_several_are_listed() -> None:
    """At most a few of them, in order."""
    digests = [bytes([0, number]) * 16 for number in range(MAX_CANDIDATES + 1)]
    assert only(digests[:1], "CRL", "00", Problem.CRL_UNKNOWN) == digests[0]
    with pytest.raises(StoreError, match="no CRL has") as none:
        only([], "CRL", "ff", Problem.CRL_UNKNOWN)
    assert none.value.kind is Problem.CRL_UNKNOWN
    with pytest.raises(StoreError, match=f"{MAX_CANDIDATES + 1} SHA-256 begin with 00") as several:
        only(digests[::-1], "CRL", "00", Problem.CRL_UNKNOWN)
    assert str(several.value).count("00") > MAX_CANDIDATES
    assert str(several.value).endswith(f"{digests[MAX_CANDIDATES - 1].hex()}, …")
