"""Organizations: added, changed, removed; and what of their token settings lets no user in, or too many."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum, auto
from typing import Final

from authz.directory import Store
from authz.directory.organizations import get_organization, set_organization
from authz.directory.organizations import remove_organization as remove_row
from authz.identity.claims import media_type
from authz.identity.keys import check_location
from authz.model import Algorithm, BindingScope, Enforcement, Organization, PathSettings, TokenSettings
from authz.pki import service_policy
from authz.pki.x509.algorithms import MIN_RSA_BITS

_is_type: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}").fullmatch
"""RFC 6838 section 4.2."""


class InvalidSettingError(ValueError):
    """A setting has a value that cannot be, whatever the directory holds."""


class TokenGap(StrEnum):
    """What is missing beside a setting for tokens."""

    KEYS_WITHOUT_ISSUER_OR_AUDIENCE = auto()
    TYPE_WITHOUT_KEYS = auto()
    CLAIM_WITHOUT_ISSUER = auto()


class PathGap(StrEnum):
    """Where a setting for paths does not count."""

    POLICIES_NOT_REQUIRED = auto()
    ONLY_IN_STORED = auto()


@dataclass(frozen=True, slots=True)
class TokenChange:
    """Token settings that are to become others; None leaves one as it is, an empty text takes it away."""

    issuer: str | None = None
    audience: str | None = None
    user_claim: str | None = None
    organization_claim: str | None = None
    keys: str | None = None
    type: str | None = None
    audience_claim: str | None = None

    def of(self, token: TokenSettings) -> TokenSettings:
        """The settings with this change. Raises `InvalidSettingError` for the keys or the type."""
        return TokenSettings(
            issuer=_changed(token.issuer, self.issuer),
            audience=_changed(token.audience, self.audience),
            user_claim=self.user_claim or token.user_claim,
            organization_claim=_changed(token.organization_claim, self.organization_claim),
            keys=_location(_changed(token.keys, self.keys)),
            type=_token_type(_changed(token.type, self.type)),
            audience_claim=self.audience_claim or token.audience_claim,
        )


@dataclass(frozen=True, slots=True)
class PathChange:
    """Settings of paths that are to become others; None leaves one as it is, an empty text takes it away."""

    algorithms: Sequence[Algorithm] | None = None
    min_rsa_bits: int | None = None
    policies: Sequence[str] | None = None
    explicit_policy: bool | None = None
    inhibit_mapping: bool | None = None
    inhibit_any_policy: bool | None = None
    purpose: str | None = None

    def of(self, path: PathSettings) -> PathSettings:
        """The settings with this change. Raises `InvalidSettingError` for any under which no policy can be made."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: tuple(dict.fromkeys(filter(None, given[name] or ()))) for name in ("algorithms", "policies")}
        changed = {name: lists.get(name, value) for name, value in given.items() if value is not None}
        settings = replace(path, **changed | ({"purpose": PathSettings().purpose} if self.purpose == "" else {}))
        try:
            service_policy(settings)
        except ValueError as error:
            raise InvalidSettingError(str(error)) from None
        return settings


@dataclass(frozen=True, slots=True)
class OrganizationChange:
    """What of an organization is to become something else; None leaves it as it is."""

    hosts: Sequence[str] | None = None
    active: bool | None = None
    binding_scope: BindingScope | None = None
    enforcement: Enforcement | None = None
    token: TokenChange = TokenChange()
    path: PathChange = PathChange()

    def of(self, organization: Organization) -> Organization:
        """The organization with this change. Raises `InvalidSettingError` for a value that cannot be."""
        return replace(
            organization,
            hosts=organization.hosts if self.hosts is None else tuple(self.hosts),
            active=organization.active if self.active is None else self.active,
            binding_scope=self.binding_scope or organization.binding_scope,
            default_enforcement=self.enforcement or organization.default_enforcement,
            token=self.token.of(organization.token),
            path=self.path.of(organization.path),
        )


def path_gaps(path: PathSettings) -> Iterator[PathGap]:
    """What of the settings for paths does less than one may think."""
    if path.policies and not path.explicit_policy:
        yield PathGap.POLICIES_NOT_REQUIRED
    if Algorithm.SHA1 in path.algorithms or path.min_rsa_bits < MIN_RSA_BITS:
        yield PathGap.ONLY_IN_STORED


def _changed(present: str | None, given: str | None) -> str | None:
    return present if given is None else given or None


def _location(keys: str | None) -> str | None:
    if keys is not None and "://" in keys:
        try:
            check_location(keys)
        except ValueError as error:
            raise InvalidSettingError(str(error)) from None
    return keys


def _token_type(given: str | None) -> str | None:
    canonical = None if given is None else media_type(given)
    if canonical is not None and not _is_type(canonical):
        raise InvalidSettingError(f"{given} is no type of a token, such as at+jwt")
    return canonical


def add_organization(store: Store, name: str, settings: OrganizationChange) -> Organization:
    """Add an organization. Raises `InvalidSettingError` and `StoreError`."""
    return store.add_organization(settings.of(Organization(0, name, ())))


def change_organization(store: Store, name: str, change: OrganizationChange) -> Organization:
    """Change an organization. Raises `InvalidSettingError` and `StoreError`."""
    with store.transaction() as connection:
        return set_organization(connection, change.of(get_organization(connection, name)))


def remove_organization(store: Store, name: str) -> Organization:
    """Remove an organization with everything of it; returns what it was. Raises `StoreError`."""
    with store.transaction() as connection:
        organization = get_organization(connection, name)
        remove_row(connection, name)
    return organization


def token_gaps(token: TokenSettings) -> Iterator[TokenGap]:
    """What of the settings for tokens lets no user in, or more than one may think."""
    if token.keys is not None and None in (token.issuer, token.audience):
        yield TokenGap.KEYS_WITHOUT_ISSUER_OR_AUDIENCE
    if token.type is not None and token.keys is None:
        yield TokenGap.TYPE_WITHOUT_KEYS
    if token.organization_claim is not None and token.issuer is None:
        yield TokenGap.CLAIM_WITHOUT_ISSUER
