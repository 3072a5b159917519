"""A page of a list costs what the page has, however large the directory is: by an index in the list's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from support.certificates import NOW, Authority
from support.directory import SQLITE_ALONE
from support.query_plans import plans, scanned

from authz.directory import Store
from authz.directory.authorities import ANCHORS, INTERMEDIATES
from authz.directory.crls import known_cas, list_crls
from authz.directory.decision_rows import Filter, get_decision, list_decisions
from authz.directory.organizations import list_organizations
from authz.directory.queries import distinct
from authz.directory.registrations import list_registrations, listed_registrations
from authz.directory.schema import registrations
from authz.directory.users import list_users
from authz.model import Outcome
from authz.pki import Certificate, Crl

pytestmark = SQLITE_ALONE

ROOT = Authority.root()
CA = ROOT.intermediate()
ALICE = Certificate.parse(CA.leaf("alice").der)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)

LISTS: dict[str, Callable[[sa.Connection], Iterable[object]]] = {
    "registrations of an organization": lambda connection: list_registrations(connection, "acme"),
    "registrations of an organization, later page": lambda connection: list_registrations(connection, "acme", after=1),
    "registrations of a user": lambda connection: list_registrations(connection, "acme", "alice"),
    "registrations, later page": lambda connection: list_registrations(connection, after=1),
    "anchors of an organization": lambda connection: ANCHORS.list(connection, "acme"),
    "anchors, later page": lambda connection: ANCHORS.list(connection, after=1),
    "intermediates of an organization, later page": lambda connection: INTERMEDIATES.list(connection, "acme", 1),
    "users": lambda connection: list_users(connection, "acme"),
    "users, later page": lambda connection: list_users(connection, "acme", "a"),
    "organizations, later page": lambda connection: list_organizations(connection, "a"),
    "CRLs, later page": lambda connection: list_crls(connection, 1),
    "decisions of an organization": lambda connection: list_decisions(connection, Filter("acme")),
    "decisions of a user": lambda connection: list_decisions(connection, Filter("acme", "alice")),
    "decisions of a name": lambda connection: list_decisions(connection, Filter(user="alice", outcome=Outcome.DENIED)),
    "decisions since": lambda connection: list_decisions(connection, Filter(since=SINCE)),
}


@pytest.mark.parametrize("name", LISTS)
def test_list_reads_no_whole_table_and_sorts_nothing(store: Store, name: str) -> None:
    """Neither for the first page nor for a later one."""
    steps = plans(store, LISTS[name])
    assert steps
    assert scanned(steps) == []


WHOLE: dict[str, Callable[[sa.Connection], Iterable[object]]] = {
    "registrations": list_registrations,
    "anchors": ANCHORS.list,
    "organizations": list_organizations,
    "decisions": lambda connection: list_decisions(connection, Filter()),
}


@pytest.mark.parametrize("name", WHOLE)
def test_list_of_everything_is_read_in_its_order(store: Store, name: str) -> None:
    """From the first row on, and not sorted before."""
    assert [step for step in plans(store, WHOLE[name]) if "TEMP B-TREE" in step] == []


def test_registrations_of_a_name_are_looked_up_in_each_organization(store: Store) -> None:
    """No registration is read that is not of that name."""
    steps = plans(store, lambda connection: list_registrations(connection, None, "alice"))
    assert [step for step in steps if step.startswith("SCAN")] == []
    assert any(step.startswith("SEARCH users") and "(organization_id=? AND name=?)" in step for step in steps)


def test_decision_is_looked_up_by_the_beginning_of_its_id(store: Store) -> None:
    """By the index, in a history of any size."""

    def get(connection: sa.Connection) -> Iterable[object]:
        with pytest.raises(Exception, match="no decision"):
            get_decision(connection, "5e7f")
        return ()

    assert scanned(plans(store, get)) == []


def test_different_values_of_a_column_are_looked_up_one_by_one(store: Store) -> None:
    """As many look-ups as there are values, not as there are rows; NULL does not count."""
    for number in range(3):
        store.add_user("acme", f"u{number}")
        store.register("acme", f"u{number}", ALICE, [Certificate.parse(CA.der)] if number else [], now=NOW)
    with store.reading() as connection:
        assert len(list(distinct(connection, registrations.c.issuer))) == 1
        assert len(list(distinct(connection, registrations.c.chain_sha256))) == 1
        assert list(distinct(connection, registrations.c.anchor_sha256)) == []
    for column in (registrations.c.issuer, registrations.c.chain_sha256):
        assert scanned(plans(store, lambda connection, column=column: distinct(connection, column))) == []  # type: ignore[misc]


def test_added_crl_reads_no_registration_but_those_it_lists(store: Store) -> None:
    """Of the chains each different one, of the leaves issuer and serial number in an index."""
    store.register("acme", "alice", ALICE, [Certificate.parse(CA.der)], now=NOW)
    crl = Crl(CA.crl(ALICE.serial))
    steps = plans(store, lambda connection: listed_registrations(connection, crl))
    assert scanned(steps) == []
    steps = plans(store, known_cas)
    assert {step.split()[1] for step in scanned(steps)} == {"anchors", "intermediates"}
    with store.reading() as connection:
        assert [listed.leaf for listed in listed_registrations(connection, crl)] == [ALICE]
        assert list(listed_registrations(connection, Crl(CA.crl(ALICE.serial + 1)))) == []
        assert list(listed_registrations(connection, Crl(ROOT.crl(ALICE.serial)))) == []
        assert known_cas(connection) == [Certificate.parse(CA.der)]
