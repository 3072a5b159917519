"""Organizations are written whole or not at all, with hosts and tokens that are theirs alone."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from support.directory import SQLITE_ALONE

from authz.directory import Store, organizations, schema
from authz.directory.limits import check_tokens
from authz.errors import StoreError
from authz.model import BindingScope, Enforcement, Organization, TokenSettings


def test_organization_is_stored_whole(store: Store) -> None:
    """Every setting comes back."""
    token = TokenSettings("i", "a", "email", "org", "keys.json", "at+jwt", "azp")
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


def test_invalid_host_is_refused(store: Store) -> None:
    """With the way it is written."""
    with pytest.raises(StoreError) as caught:
        store.add_organization(Organization(0, "b", ("a b",)))
    assert caught.value.hint


def test_host_that_stays_is_not_written(store: Store) -> None:
    """Of an organization with ten thousand, readers drop it alone when it is switched off."""
    acme = store.organization("acme")
    store.set_organization(replace(acme, hosts=(*acme.hosts, "new.test")))
    changes = schema.directory_changes.c
    logged = sa.select(changes.kind, changes.key).order_by(changes.id)
    with store.transaction() as connection:
        before = connection.execute(logged).all()
    store.set_organization(replace(acme, hosts=(*acme.hosts, "other.test"), active=False))
    with store.transaction() as connection:
        after = connection.execute(logged).all()[len(before) :]
    assert after == [("organization", None), ("host", b"new.test"), ("host", b"other.test")]


def test_hosts_given_replace_the_ones_held(store: Store) -> None:
    """And free the old."""
    store.set_organization(replace(store.organization("acme"), hosts=("new.test",)))
    store.add_organization(Organization(0, "b", ("acme.example.test",)))
    assert store.organization("acme").hosts == ("new.test",)


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


@pytest.mark.parametrize(
    ("claim", "audience", "allowed"), [("aud", "b", True), ("azp", "a", False), ("azp", "b", False)]
)
def test_audiences_in_different_claims_do_not_separate(store: Store, claim: str, audience: str, allowed: bool) -> None:
    """One token may have both: a client's own id in azp, and the service that it calls in aud."""
    store.add_organization(Organization(0, "one", (), token=TokenSettings("https://i", "a")))
    two = Organization(0, "two", (), token=TokenSettings("https://i", audience, audience_claim=claim))
    if allowed:
        store.add_organization(two)
        return
    with pytest.raises(StoreError, match="could name a user"):
        store.add_organization(two)


def test_organization_whose_tokens_cross_anothers_can_be_switched_off(store: Store) -> None:
    """An earlier version took settings that are refused now; what does not change them is no time to say so."""
    token = TokenSettings(issuer="https://i", audience="a")
    one, two = (store.add_organization(Organization(0, name, ())) for name in ("one", "two"))
    store.set_organization(replace(one, token=token))
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE organizations SET token_issuer = 'https://i', token_audience = 'a'")
    assert not store.set_organization(replace(two, token=token, active=False)).active


@pytest.mark.slow
def test_organization_whose_tokens_cross_is_found_by_index(store: Store) -> None:
    """All combinations of issuer, audience and claim, beside all."""
    values = itertools.product((None, "a", "b"), (None, "c", "d"), (None, "o"))
    settings = [TokenSettings(issuer, audience, organization_claim=claim) for issuer, audience, claim in values]
    acme = store.organization("acme")
    crossing = 0
    for other, own in itertools.product(settings, settings):
        try:
            check_tokens(own, "acme", other)
        except StoreError:
            crossing += 1
            with store.transaction() as connection:
                tokens = {
                    f"token_{name}": getattr(other, name) for name in ("issuer", "audience", "organization_claim")
                }
                connection.execute(sa.update(schema.organizations).values(**tokens))
                with pytest.raises(StoreError, match="acme"):
                    organizations._check_tie(connection, replace(acme, name="other", token=own))
    assert crossing > 50


@SQLITE_ALONE
def test_organizations_that_cannot_cross_are_not_read(store: Store) -> None:
    """Neither those without tokens, nor those that a claim ties to the issuer of all."""
    query = sa.select(schema.organizations).where(organizations._may_cross(TokenSettings("i", "a")))
    text = str(query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    with store.transaction() as connection:
        plan = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    assert not [step for step in plan if step.startswith("SCAN")], plan
