"""Organizations: added, changed, removed; and what of their token settings lets no user in, or too many."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum, auto
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from authz import pki
from authz.admin.audited_store import AuditedStore
from authz.admin.described import described_organization
from authz.directory import organizations
from authz.model import (
    DEFAULT_PATHS,
    Algorithm,
    BindingScope,
    Enforcement,
    Organization,
    PathSettings,
    RegistrationKind,
    TokenSettings,
)
from authz.text import media_type

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
            keys=token.keys if self.keys is None else _location(self.keys or None),
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
        if settings == path:
            return path
        try:
            pki.service_policy(settings)
        except ValueError as error:
            message = str(error).replace("initial_policy_set", "a policy").replace("extended_key_usage", "the purpose")
            raise InvalidSettingError(message) from None
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
    binding_kinds: Sequence[RegistrationKind] | None = None

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
            binding_kinds=self._kinds_of(organization),
        )

    def _kinds_of(self, organization: Organization) -> tuple[RegistrationKind, ...]:
        """In their one order, each once."""
        given = organization.binding_kinds if self.binding_kinds is None else self.binding_kinds
        return tuple(kind for kind in RegistrationKind if kind in given)


def path_gaps(path: PathSettings) -> Iterator[PathGap]:
    """What of the settings for paths does less than one may think."""
    if path.policies and not path.explicit_policy:
        yield PathGap.POLICIES_NOT_REQUIRED
    if Algorithm.SHA1 in path.algorithms or path.min_rsa_bits < DEFAULT_PATHS.min_rsa_bits:
        yield PathGap.ONLY_IN_STORED


def _changed(present: str | None, given: str | None) -> str | None:
    return present if given is None else given or None


def _location(keys: str | None) -> str | None:
    """A key set's file or URL; of a file it is known now whether the service can use it."""
    if keys is None:
        return None
    if "://" in keys:
        try:
            _reader().check_location(keys)
        except ValueError as error:
            raise InvalidSettingError(str(error)) from None
        return keys
    if not Path(keys).is_absolute():
        raise InvalidSettingError(f"{keys} is no absolute path, and the service may run in another folder")
    problem = problem_of_key_set(keys)
    if problem:
        raise InvalidSettingError(f"the key set {keys} cannot be used: {problem}")
    return keys


def problem_of_key_set(location: str) -> str:
    """Why the key set at a file or URL verifies no token at this moment; empty if it does."""
    return str(_reader().problem_of(location))


def _reader() -> Any:
    """The module that reads key sets: it takes a client of HTTP, which no other change needs."""
    return import_module("authz.identity.keys")


def _token_type(given: str | None) -> str | None:
    canonical = None if given is None else media_type(given)
    if canonical is not None and not _is_type(canonical):
        raise InvalidSettingError(f"{given} is no type of a token, such as at+jwt")
    return canonical


def add_organization(store: AuditedStore, name: str, settings: OrganizationChange) -> Organization:
    """Add an organization. Raises `InvalidSettingError` and `StoreError`."""
    wanted = settings.of(Organization(0, name, ()))
    with store.change() as change:
        added = organizations.add_organization(change.connection, wanted)
        change.record("add", "organization", name, after=described_organization(added))
    return added


def change_organization(store: AuditedStore, name: str, settings: OrganizationChange) -> Organization:
    """Change an organization. Raises `InvalidSettingError` and `StoreError`."""
    with store.change() as change:
        former = organizations.get_organization(change.connection, name)
        wanted = settings.of(former)
        if wanted == former:
            return former
        changed = organizations.set_organization(change.connection, wanted)
        before, after = described_organization(former), described_organization(changed)
        change.record("change", "organization", name, before=before, after=after)
    return changed


def remove_organization(store: AuditedStore, name: str) -> Organization:
    """Remove an organization with everything of it; returns what it was. Raises `StoreError`."""
    with store.change() as change:
        organization = organizations.get_organization(change.connection, name)
        holdings = organizations.holdings(change.connection, organization.id)
        organizations.remove_organization(change.connection, name)
        change.record("remove", "organization", name, before={**described_organization(organization), **holdings})
    return organization


def token_gaps(token: TokenSettings) -> Iterator[TokenGap]:
    """What of the settings for tokens lets no user in, or more than one may think."""
    if token.keys is not None and None in (token.issuer, token.audience):
        yield TokenGap.KEYS_WITHOUT_ISSUER_OR_AUDIENCE
    if token.type is not None and token.keys is None:
        yield TokenGap.TYPE_WITHOUT_KEYS
    if token.organization_claim is not None and token.issuer is None:
        yield TokenGap.CLAIM_WITHOUT_ISSUER
