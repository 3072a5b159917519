"""An organization is added and changed as given, and gaps of its token settings are reported."""

from __future__ import annotations

import pytest

from authz.admin.organizations import (
    InvalidSettingError,
    OrganizationChange,
    TokenChange,
    TokenGap,
    add_organization,
    change_organization,
    remove_organization,
    token_gaps,
)
from authz.directory import Store
from authz.errors import StoreError
from authz.model import BindingScope, Enforcement, TokenSettings


def test_change_leaves_what_it_does_not_name(store: Store) -> None:
    """Each of two changes alone."""
    change_organization(store, "acme", OrganizationChange(binding_scope=BindingScope.ORGANIZATION))
    changed = change_organization(
        store, "acme", OrganizationChange(active=False, token=TokenChange(issuer="https://i"))
    )
    assert changed == store.organization("acme")
    assert (changed.binding_scope, changed.active) == (BindingScope.ORGANIZATION, False)
    assert changed.token.issuer == "https://i"
    assert changed.default_enforcement is Enforcement.REQUIRED


def test_empty_text_takes_a_token_setting_away(store: Store) -> None:
    """But for the claims with the user's name and the audience, which there must be."""
    settings = TokenChange("https://i", "a", "email", "org", "keys.json", "application/AT+jwt", "azp")
    added = add_organization(store, "b", OrganizationChange(hosts=["b.test"], token=settings))
    assert added.token == TokenSettings("https://i", "a", "email", "org", "keys.json", "at+jwt", "azp")
    changed = change_organization(store, "b", OrganizationChange(token=TokenChange("", "", "", "", "", "", "")))
    assert changed.token == TokenSettings(user_claim="email", audience_claim="azp")
    assert changed.hosts == ("b.test",)


@pytest.mark.parametrize("token", [TokenChange(keys="http://id.test/keys"), TokenChange(type="text/at+jwt")])
def test_setting_that_cannot_be_is_refused_before_anything_is_written(store: Store, token: TokenChange) -> None:
    """A key set over http, a type that is no media type of tokens."""
    before = store.organization("acme")
    change = OrganizationChange(active=False, token=token)
    with pytest.raises(InvalidSettingError):
        change_organization(store, "acme", change)
    with pytest.raises(InvalidSettingError):
        add_organization(store, "b", change)
    assert store.organizations() == [before]


def test_removal_returns_what_was_removed(store: Store) -> None:
    """For the caller to name its hosts; what is not there cannot be removed."""
    before = store.organization("acme")
    assert remove_organization(store, "acme") == before
    with pytest.raises(StoreError):
        remove_organization(store, "acme")


@pytest.mark.parametrize(
    ("token", "gaps"),
    [
        (TokenSettings(), []),
        (TokenSettings("https://i", "a", keys="k", type="at+jwt", organization_claim="org"), []),
        (TokenSettings("https://i", keys="k"), [TokenGap.KEYS_WITHOUT_ISSUER_OR_AUDIENCE]),
        (TokenSettings(type="at+jwt"), [TokenGap.TYPE_WITHOUT_KEYS]),
        (TokenSettings(organization_claim="org"), [TokenGap.CLAIM_WITHOUT_ISSUER]),
    ],
    ids=["nothing", "everything", "keys alone", "type alone", "claim alone"],
)
def test_gap_of_token_settings_is_reported(token: TokenSettings, gaps: list[TokenGap]) -> None:
    """One for each setting that does nothing, or too much, without another."""
    assert list(token_gaps(token)) == gaps
