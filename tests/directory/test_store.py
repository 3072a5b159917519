"""What the command writes: whole or not at all, and never twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509 import DeltaCRLIndicator
from support.certificates import NOW, Authority, Minted

from authz.directory import Store
from authz.errors import StoreError
from authz.model import BindingScope, Enforcement, Organization, RegistrationState, TokenSettings
from authz.pki import Certificate, Crl

ROOT = Authority.root()
CA = ROOT.intermediate()
ALICE = CA.leaf("alice")
DAY = timedelta(days=1)


def parsed(one: Minted) -> Certificate:
    """A minted certificate, read."""
    return Certificate.parse(one.der)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A directory with one organization that has one user."""
    opened = Store(f"sqlite:///{tmp_path / 'a.db'}")
    opened.add_organization(Organization(0, "acme", ("Acme.Example.Test.",)))
    opened.add_user("acme", "alice")
    yield opened
    opened.close()


def test_organization_is_stored_whole(store: Store) -> None:
    """Every setting comes back."""
    token = TokenSettings("i", "a", "email", "org", "keys.json", "at+jwt")
    wanted = Organization(0, "b", ("b.test",), False, BindingScope.ORGANIZATION, Enforcement.OFF, token)
    added = store.add_organization(wanted)
    assert store.organization("b") == added == replace(wanted, id=added.id)


def test_host_is_stored_in_its_canonical_form(store: Store) -> None:
    """However it was written."""
    assert store.organization("acme").hosts == ("acme.example.test",)


def test_host_of_another_organization_is_refused_and_nothing_is_written(store: Store) -> None:
    """The organization that wanted it is not there either."""
    with pytest.raises(StoreError, match="belongs to acme"):
        store.add_organization(Organization(0, "b", ("ACME.example.test",)))
    assert [one.name for one in store.organizations()] == ["acme"]


def test_host_that_is_none_is_refused(store: Store) -> None:
    """With the way it is written."""
    with pytest.raises(StoreError) as caught:
        store.add_organization(Organization(0, "b", ("a b",)))
    assert caught.value.hint


def test_hosts_given_replace_the_ones_held(store: Store) -> None:
    """And free the old."""
    store.set_organization(replace(store.organization("acme"), hosts=("new.test",)))
    store.add_organization(Organization(0, "b", ("acme.example.test",)))
    assert store.organization("acme").hosts == ("new.test",)


@pytest.mark.parametrize("name", ["", " a", "a\n", "x" * 256])
def test_name_that_is_none_is_refused(store: Store, name: str) -> None:
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


def test_user_names_differ_by_case(store: Store) -> None:
    """Byte for byte."""
    store.add_user("acme", "Alice")
    assert [one.name for one in store.users("acme")] == ["Alice", "alice"]


def test_user_gets_the_organizations_default(store: Store) -> None:
    """Unless something else is said."""
    store.set_organization(replace(store.organization("acme"), default_enforcement=Enforcement.OBSERVE))
    assert store.add_user("acme", "bob").enforcement is Enforcement.OBSERVE
    assert store.add_user("acme", "carol", Enforcement.OFF).enforcement is Enforcement.OFF


def test_user_changed_is_stored(store: Store) -> None:
    """Enforcement and activity."""
    changed = replace(store.user("acme", "alice"), enforcement=Enforcement.OFF, active=False)
    store.set_user(changed)
    assert store.user("acme", "alice") == changed


@pytest.mark.parametrize("verb", ["organization", "remove_organization", "users", "anchors", "registrations"])
def test_unknown_organization_is_an_error_with_a_hint(store: Store, verb: str) -> None:
    """Whatever the verb."""
    with pytest.raises(StoreError) as caught:
        getattr(store, verb)("nobody")
    assert "authz org add" in caught.value.hint


@pytest.mark.parametrize("verb", ["user", "remove_user"])
def test_unknown_user_is_an_error_with_a_hint(store: Store, verb: str) -> None:
    """Whatever the verb."""
    with pytest.raises(StoreError) as caught:
        getattr(store, verb)("acme", "nobody")
    assert "authz user add" in caught.value.hint


def test_removal_takes_everything_of_it(store: Store) -> None:
    """An organization with its users, anchors and registrations; a user with his registrations."""
    store.add_anchors("acme", [parsed(ROOT)])
    store.register("acme", "alice", parsed(ALICE), now=NOW)
    store.remove_user("acme", "alice")
    assert store.registrations() == []
    store.remove_organization("acme")
    assert store.anchors() == []


def test_anchors_are_an_organizations_or_shared(store: Store) -> None:
    """Added once, listed with their owner, removed by both."""
    assert store.add_anchors("acme", [parsed(ROOT), parsed(ROOT)]) == [parsed(ROOT)]
    assert store.add_anchors(None, [parsed(ROOT)]) == [parsed(ROOT)]
    assert store.add_anchors(None, [parsed(ROOT)]) == []
    assert [one.organization for one in store.anchors("acme")] == ["acme", None]
    store.remove_anchor(None, ROOT.sha256)
    with pytest.raises(StoreError):
        store.remove_anchor(None, ROOT.sha256)
    assert [one.organization for one in store.anchors()] == ["acme"]


def test_intermediates_are_kept_apart_from_anchors(store: Store) -> None:
    """Known is not trusted."""
    assert store.add_intermediates("acme", [parsed(CA)]) == [parsed(CA)]
    assert store.anchors() == []
    assert [one.certificate.der for one in store.intermediates("acme")] == [CA.der]
    store.remove_intermediate("acme", CA.sha256)
    assert store.intermediates() == []


def test_registration_keeps_leaf_chain_and_dates(store: Store) -> None:
    """Everything comes back."""
    added = store.register(
        "acme", "alice", parsed(ALICE), [parsed(CA)], label="l", valid_from=NOW, valid_until=NOW + DAY, now=NOW
    )
    held = store.registration(added.registration.id)
    assert (held.leaf.der, held.registration.chain, held.registration.label) == (ALICE.der, (CA.der,), "l")
    assert (held.registration.valid_from, held.registration.valid_until) == (NOW, NOW + DAY)
    assert (held.organization, held.user) == ("acme", "alice")


def test_registration_twice_at_one_time_is_refused(store: Store) -> None:
    """For one user; another user, or another time, is fine."""
    first = store.register("acme", "alice", parsed(ALICE), now=NOW)
    with pytest.raises(StoreError, match="already"):
        store.register("acme", "alice", parsed(ALICE), now=NOW)
    store.add_user("acme", "bob")
    store.register("acme", "bob", parsed(ALICE), now=NOW)
    store.retire(first.registration.id, NOW)
    store.register("acme", "alice", parsed(ALICE), now=NOW)
    assert len(store.registrations("acme")) == 3
    assert len(store.registrations("acme", "alice")) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"label": "x" * 65},
        {"valid_from": NOW, "valid_until": NOW},
        {"chain": [parsed(CA)] * 10},
    ],
)
def test_registration_beyond_a_limit_is_refused(store: Store, options: dict[str, object]) -> None:
    """Label, dates, number of certificates."""
    with pytest.raises(StoreError):
        store.register("acme", "alice", parsed(ALICE), now=NOW, **options)  # type: ignore[arg-type]
    assert store.registrations() == []


def test_registration_elsewhere_is_reported_not_refused(store: Store) -> None:
    """A public certificate must not be squatted."""
    store.add_organization(Organization(0, "b", ()))
    store.add_user("b", "alice")
    store.register("b", "alice", parsed(ALICE), now=NOW)
    store.register("acme", "alice", parsed(ALICE), now=NOW)
    assert store.registered_elsewhere("acme", ALICE.sha256) == ["b"]


def test_retirement_is_never_put_off(store: Store) -> None:
    """An end that came stays; an earlier one counts."""
    key = store.register("acme", "alice", parsed(ALICE), now=NOW).registration.id
    store.retire(key, NOW)
    assert store.retire(key, NOW + DAY).registration.retired_at == NOW
    assert store.retire(key, NOW - DAY).registration.retired_at == NOW - DAY
    assert store.registration(key).registration.state(NOW) is RegistrationState.RETIRED


def test_registration_unknown_is_an_error(store: Store) -> None:
    """By id."""
    with pytest.raises(StoreError):
        store.retire(99, NOW)


def test_crl_of_an_unknown_ca_is_refused(store: Store) -> None:
    """A CRL is kept only if a known key signed it."""
    with pytest.raises(StoreError) as caught:
        store.add_crl(Crl(ROOT.crl()), NOW)
    assert "add its CA first" in caught.value.hint


def test_crl_of_the_same_name_and_another_key_is_refused(store: Store) -> None:
    """The name alone says nothing."""
    store.add_anchors("acme", [parsed(ROOT)])
    with pytest.raises(StoreError):
        store.add_crl(Crl(Authority.root().crl()), NOW)


def test_crl_newer_replaces_the_one_held(store: Store) -> None:
    """And an older, or the same, is refused."""
    store.add_anchors("acme", [parsed(ROOT)])
    first, second = Crl(ROOT.crl(number=1)), Crl(ROOT.crl(number=2, this_update=NOW))
    store.add_crl(first, NOW)
    store.add_crl(second, NOW)
    for old in (first, second):
        with pytest.raises(StoreError):
            store.add_crl(old, NOW)
    assert [one.crl.number for one in store.crls()] == [2]


def test_crl_whose_number_and_date_disagree_is_refused(store: Store) -> None:
    """Neither may go back."""
    store.add_anchors("acme", [parsed(ROOT)])
    store.add_crl(Crl(ROOT.crl(number=5)), NOW)
    with pytest.raises(StoreError):
        store.add_crl(Crl(ROOT.crl(number=4, this_update=NOW)), NOW)
    with pytest.raises(StoreError):
        store.add_crl(Crl(ROOT.crl(number=6, this_update=NOW - 3 * DAY)), NOW)


def test_crl_from_the_future_is_refused(store: Store) -> None:
    """It would say nothing yet, in place of the one that does."""
    store.add_anchors("acme", [parsed(ROOT)])
    store.add_crl(Crl(ROOT.crl()), NOW)
    with pytest.raises(StoreError):
        store.add_crl(Crl(ROOT.crl(number=2, this_update=NOW + DAY)), NOW)
    assert [one.crl.number for one in store.crls()] == [1]


def test_crl_delta_of_a_later_base_leaves_the_older_one(store: Store) -> None:
    """What was revoked between the two bases stands in the older delta alone, until a complete CRL ends behind it."""
    store.add_anchors("acme", [parsed(ROOT)])
    days = (NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY)
    deltas = [(5, [(DeltaCRLIndicator(3), True)]), (6, [(DeltaCRLIndicator(5), True)])]
    for this_update, (number, extensions) in zip(days, [(3, []), *deltas], strict=True):
        store.add_crl(Crl(ROOT.crl(number=number, this_update=this_update, extensions=extensions)), NOW)
    assert [one.crl.number for one in store.crls()] == [3, 5, 6]
    store.add_crl(Crl(ROOT.crl(number=7, this_update=NOW)), NOW)
    assert [one.crl.number for one in store.crls()] == [7]


def test_crl_of_a_ca_known_from_a_registration_is_kept(store: Store) -> None:
    """Stored chains count as known CAs."""
    store.register("acme", "alice", parsed(ALICE), [parsed(CA)], now=NOW)
    store.add_crl(Crl(CA.crl()), NOW)
    assert len(store.crl_store()) == 1


CLAIM = "org"


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        ((None, None, None), (None, None, None), True),
        (("https://i", "a", None), ("https://i", "b", None), True),
        (("https://i", "a", None), ("https://j", "a", None), True),
        (("https://i", "a", CLAIM), ("https://i", "a", CLAIM), True),
        (("https://i", "a", None), ("https://i", "a", None), False),
        (("https://i", "a", CLAIM), ("https://i", "a", None), False),
        (("https://i", "a", None), ("https://i", "a", CLAIM), False),
        ((None, None, CLAIM), (None, None, CLAIM), True),
        (("https://i", "a", CLAIM), ("https://i", None, CLAIM), True),
        (("https://i", None, CLAIM), ("https://j", "a", None), True),
        (("https://i", None, None), ("https://i", "a", None), True),
        (("https://i", "a", None), ("https://i", None, CLAIM), False),
        (("https://i", None, CLAIM), ("https://i", "a", None), False),
        (("https://i", "a", None), (None, "a", CLAIM), False),
        (("https://i", "a", CLAIM), (None, None, CLAIM), False),
        ((None, "b", CLAIM), ("https://i", "a", CLAIM), False),
    ],
)
def test_tokens_of_one_organization_are_never_good_for_another(
    store: Store, first: tuple[str | None, ...], second: tuple[str | None, ...], allowed: bool
) -> None:
    """What two accept must not meet, and no tenant's own issuer may state another's name; added or changed."""
    one, two = (TokenSettings(issuer=each[0], audience=each[1], organization_claim=each[2]) for each in (first, second))
    store.add_organization(Organization(0, "one", (), token=one))
    plain = store.add_organization(Organization(0, "two", ()))
    for change in (
        lambda: store.set_organization(replace(plain, token=two)),
        lambda: store.add_organization(Organization(0, "three", (), token=two)),
    ):
        if allowed:
            change()
            store.set_organization(plain)
        else:
            with pytest.raises(StoreError, match="could name a user"):
                change()


def test_organization_whose_tokens_cross_anothers_can_be_switched_off(store: Store) -> None:
    """An earlier version took settings that are refused now; what does not change them is no time to say so."""
    token = TokenSettings(issuer="https://i", audience="a")
    one, two = (store.add_organization(Organization(0, name, ())) for name in ("one", "two"))
    store.set_organization(replace(one, token=token))
    with store._transaction() as connection:
        connection.exec_driver_sql("UPDATE organizations SET token_issuer = 'https://i', token_audience = 'a'")
    assert not store.set_organization(replace(two, token=token, active=False)).active
