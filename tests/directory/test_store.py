"""The verbs of the store, each a transaction: wholly or not at all."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from support.certificates import NOW, Authority, Minted

from authz.directory import Store
from authz.directory.users import add_user
from authz.errors import Problem, StoreError
from authz.model import Organization
from authz.pki import Certificate, Crl

ROOT = Authority.root()
CA = ROOT.intermediate()
ALICE = CA.leaf("alice")


def parsed(minted: Minted) -> Certificate:
    """A minted certificate, read."""
    return Certificate.parse(minted.der)


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 256])
def test_invalid_name_is_refused(store: Store, name: str) -> None:
    """For organizations and users alike."""
    with pytest.raises(StoreError):
        store.add_organization(Organization(0, name, ()))
    with pytest.raises(StoreError):
        store.add_user("acme", name)


def test_duplicate_names_are_refused(store: Store) -> None:
    """With what to do instead."""
    with pytest.raises(StoreError, match="already"):
        store.add_organization(Organization(0, "acme", ()))
    with pytest.raises(StoreError, match="already"):
        store.add_user("acme", "alice")


@pytest.mark.parametrize("verb", ["organization", "remove_organization", "users", "anchors", "registrations"])
def test_unknown_organization_is_an_error_that_names_it(store: Store, verb: str) -> None:
    """Whatever the verb."""
    with pytest.raises(StoreError) as caught:
        getattr(store, verb)("nobody")
    assert (caught.value.kind, caught.value.about) == (Problem.ORGANIZATION_UNKNOWN, {"organization": "nobody"})


def test_removal_takes_everything_of_it(store: Store) -> None:
    """An organization with its users, anchors and registrations; a user with its registrations."""
    store.add_anchors("acme", [parsed(ROOT)])
    store.register("acme", "alice", parsed(ALICE), now=NOW)
    store.remove_user("acme", "alice")
    assert store.registrations() == []
    store.remove_organization("acme")
    assert store.anchors() == []


def test_failure_within_a_transaction_undoes_all_of_it(store: Store) -> None:
    """Functions of one connection share their fate."""
    with pytest.raises(StoreError), store.transaction() as connection:
        [add_user(connection, "acme", name) for name in ("bob", "alice")]
    assert [user.name for user in store.users("acme")] == ["alice"]


@pytest.mark.parametrize("error", [sa.exc.IntegrityError, sa.exc.OperationalError])
def test_error_of_the_database_becomes_one_of_the_store(store: Store, error: type[sa.exc.DBAPIError]) -> None:
    """With what it says, and that nothing was changed."""
    with pytest.raises(StoreError, match="disk on fire") as caught, store.transaction():
        raise error("INSERT", {}, Exception("disk on fire"))
    assert caught.value.hint == "nothing was changed"


def test_verbs_have_the_names_and_sentences_of_their_functions(store: Store) -> None:
    """Help and tracebacks show them."""
    assert (store.add_user.__name__, store.add_user.__doc__) == ("add_user", add_user.__doc__)


def test_crl_is_read_when_its_issuer_is_asked_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten thousand CAs' CRLs those of one path; a row that names no issuer is read at once."""
    roots = [Authority.root(f"root {number}") for number in range(3)]
    store.add_anchors("acme", [Certificate.parse(root.der) for root in roots])
    for root in roots:
        store.add_crl(Crl(root.crl()), NOW)
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE crls SET issuer = NULL WHERE id = 3")
    read: list[bytes] = []
    monkeypatch.setattr("authz.pki.Crl", lambda der: read.append(der) or Crl(der))  # type: ignore[func-returns-value]
    crls = store.crl_store()
    assert [crl.der for crl in crls.under(Crl(roots[1].crl()).issuer) or ()] == read[1:]
    assert [Crl(der).issuer.text for der in read] == ["CN=root 2", "CN=root 1"]
    assert len(crls) == len(read) == 3
