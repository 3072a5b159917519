"""The queries that several parts of the directory make."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.certificates import NOW, Authority

from authz.directory import Store
from authz.directory.queries import find, hosts_of, inserted_key, named_registrations, organization_by_host
from authz.directory.schema import users
from authz.errors import StoreError
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
            ({"user": "bob"}, ["bob"]),
            ({"organization": "acme", "sha256": ALICE.sha256}, ["alice", "bob"]),
            ({"id": 1}, ["alice"]),
            ({"organization": "other"}, []),
        ):
            rows = connection.execute(named_registrations(**wanted)).all()
            assert [row.user_name for row in rows] == names, wanted


def test_insertion_without_a_key_is_an_error() -> None:
    """Not a row that nothing can name."""
    with pytest.raises(StoreError, match="no key"):
        inserted_key(SimpleNamespace(inserted_primary_key=None))  # type: ignore[arg-type]
