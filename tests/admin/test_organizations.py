"""An organization is added and changed as given, and gaps of its token settings are reported."""

from __future__ import annotations

import pytest

from authz.admin.organizations import (
    InvalidSettingError,
    OrganizationChange,
    PathChange,
    PathGap,
    TokenChange,
    TokenGap,
    add_organization,
    change_organization,
    path_gaps,
    remove_organization,
    token_gaps,
)
from authz.directory import Store
from authz.errors import StoreError
from authz.model import Algorithm, BindingScope, Enforcement, PathSettings, TokenSettings


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
    settings = TokenChange("https://i", "a", "email", "org", "https://127.0.0.1/keys", "application/AT+jwt", "azp")
    added = add_organization(store, "b", OrganizationChange(hosts=["b.test"], token=settings))
    assert added.token == TokenSettings("https://i", "a", "email", "org", "https://127.0.0.1/keys", "at+jwt", "azp")
    changed = change_organization(store, "b", OrganizationChange(token=TokenChange("", "", "", "", "", "", "")))
    assert changed.token == TokenSettings(user_claim="email", audience_claim="azp")
    assert changed.hosts == ("b.test",)


def test_lists_of_paths_replace_the_ones_before_and_an_empty_text_takes_one_away(store: Store) -> None:
    """Each algorithm once; the rest stays."""
    twice = [Algorithm.DEFAULT, Algorithm.SHA1, Algorithm.SHA1]
    given = PathChange(twice, 1024, ["1.2.3", "1.2.4"], explicit_policy=True, purpose="1.2.3.4")
    changed = change_organization(store, "acme", OrganizationChange(path=given))
    expected = PathSettings((Algorithm.DEFAULT, Algorithm.SHA1), 1024, ("1.2.3", "1.2.4"), True, purpose="1.2.3.4")
    assert changed.path == expected == store.organization("acme").path
    back = PathChange([Algorithm.DEFAULT], 2048, [""], explicit_policy=False, purpose="")
    assert change_organization(store, "acme", OrganizationChange(path=back)).path == PathSettings()


@pytest.mark.parametrize(
    "path", [PathChange([Algorithm.SHA1]), PathChange(min_rsa_bits=512), PathChange(policies=["x"])]
)
def test_policy_that_cannot_be_is_refused_before_anything_is_written(store: Store, path: PathChange) -> None:
    """No kind of keys, keys that cannot be read, no object identifier."""
    before = store.organization("acme")
    with pytest.raises(InvalidSettingError):
        change_organization(store, "acme", OrganizationChange(active=False, path=path))
    assert store.organization("acme") == before


@pytest.mark.parametrize(
    ("path", "gaps"),
    [
        (PathSettings(), []),
        (PathSettings(policies=("1.2.3",), explicit_policy=True), []),
        (PathSettings(policies=("1.2.3",)), [PathGap.POLICIES_NOT_REQUIRED]),
        (PathSettings(min_rsa_bits=1024), [PathGap.ONLY_IN_STORED]),
        (PathSettings((Algorithm.RSA, Algorithm.SHA1)), [PathGap.ONLY_IN_STORED]),
    ],
)
def test_setting_of_paths_that_does_less_than_it_seems_is_reported(path: PathSettings, gaps: list[PathGap]) -> None:
    """Policies that need not be there, and what counts in stored certificates alone."""
    assert list(path_gaps(path)) == gaps


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
