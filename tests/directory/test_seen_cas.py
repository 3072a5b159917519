"""CAs that only clients send: kept for each organization, within its bound, as long as they are seen."""

from __future__ import annotations

from datetime import datetime, timedelta

from support.certificates import NOW, Authority
from support.directory import DirectoryStore

from authz.directory.report import LATELY
from authz.directory.seen_cas import CAS_EACH, keep_seen_cas, list_seen_cas
from authz.model import Organization
from authz.pki import Certificate

DAY = timedelta(days=1)


def keep(store: DirectoryStore, owner: int, *names: str, now: datetime = NOW) -> None:
    """CAs of these names."""
    with store.transaction() as connection:
        keep_seen_cas(connection, [(owner, name.encode(), b"DER of " + name.encode()) for name in names], now)


def kept(store: DirectoryStore, owner: int | None = None) -> list[str]:
    """The names of those that are there."""
    with store.reading() as connection:
        return [der.decode().removeprefix("DER of ") for der in list_seen_cas(connection, owner)]


def acme(store: DirectoryStore) -> int:
    """The id of the organization."""
    return store.organization("acme").id


def test_ca_is_kept_once_for_each_organization(store: DirectoryStore) -> None:
    """Of one that is not there nothing is kept; one that goes takes its own away."""
    store.add_organization(Organization(0, "other", ("other.example.test",)))
    other = store.organization("other").id
    for owner in (acme(store), acme(store), other, 99):
        keep(store, owner, "ca")
    assert kept(store) == ["ca", "ca"]
    assert kept(store, other) == ["ca"]
    store.remove_organization("other")
    assert kept(store) == ["ca"]


def test_organization_keeps_no_more_than_its_bound_and_those_that_were_first(store: DirectoryStore) -> None:
    """However many are new at once or later; another organization has room all the same."""
    first = [f"a{number:03}" for number in range(10)]
    keep(store, acme(store), *first)
    for wave in range(3):
        keep(store, acme(store), *(f"{wave}{number:03}" for number in range(CAS_EACH)), now=NOW + wave * DAY)
    assert len(kept(store)) == CAS_EACH
    assert set(first) < set(kept(store))
    store.add_organization(Organization(0, "other", ("other.example.test",)))
    keep(store, store.organization("other").id, "ca")
    assert kept(store, store.organization("other").id) == ["ca"]


def test_ca_that_is_not_seen_any_more_makes_room(store: DirectoryStore) -> None:
    """One that is seen stays, though the table has its moment to a day alone."""
    keep(store, acme(store), "gone", "stays")
    keep(store, acme(store), "stays", now=NOW + DAY / 2)
    keep(store, acme(store), "stays", now=NOW + LATELY)
    assert kept(store) == ["gone", "stays"]
    keep(store, acme(store), "new", now=NOW + LATELY + DAY)
    assert kept(store) == ["new", "stays"]


def test_ca_that_is_stored_is_not_kept(store: DirectoryStore) -> None:
    """For the organization or for all; one that another has is unknown here."""
    store.add_organization(Organization(0, "other", ("other.example.test",)))
    for number, owner in enumerate(("acme", None, "other")):
        ca = Authority.root().intermediate(f"CA {number}")
        store.add_intermediates(owner, [Certificate.parse(ca.der)])
        with store.transaction() as connection:
            keep_seen_cas(connection, [(acme(store), ca.sha256, ca.der)], NOW)
    with store.reading() as connection:
        assert [Certificate.parse(der).subject.text for der in list_seen_cas(connection)] == ["CN=CA 2"]
