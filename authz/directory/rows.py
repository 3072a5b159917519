"""From rows to the nouns of `authz.model`, for the command's store and the service's reader alike."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from authz.directory.schema import hosts, organizations, registrations
from authz.model import BindingScope, Enforcement, Organization, Registration, TokenSettings, User
from authz.pki.x509 import der

Row = sa.Row[Any]


def organization(row: Row, host_rows: list[Row]) -> Organization:
    """An organization with its hosts, in alphabetical order."""
    return Organization(
        id=row.id,
        name=row.name,
        hosts=tuple(sorted(one.host for one in host_rows)),
        active=row.active,
        binding_scope=BindingScope(row.binding_scope),
        default_enforcement=Enforcement(row.default_enforcement),
        token=token_settings(row),
    )


def token_settings(row: Row) -> TokenSettings:
    """How an organization's tokens are recognized."""
    return TokenSettings(
        issuer=row.token_issuer,
        audience=row.token_audience,
        user_claim=row.token_user_claim,
        organization_claim=row.token_organization_claim,
        keys=row.token_keys,
        type=row.token_type,
    )


def user(row: Row) -> User:
    """A user."""
    return User(row.id, row.organization_id, row.name, Enforcement(row.enforcement), row.active)


def registration(row: Row) -> Registration:
    """A registration; its chain is stored as certificates in a row. Raises `ValueError` if it is not."""
    return Registration(
        id=row.id,
        organization_id=row.organization_id,
        user_id=row.user_id,
        sha256=row.sha256,
        label=row.label,
        chain=split_chain(row.chain),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        retired_at=row.retired_at,
    )


def split_chain(data: bytes) -> tuple[bytes, ...]:
    """The certificates that stand one behind the other in `data`."""
    found = []
    at = 0
    while at < len(data):
        end = der.element(data, at, len(data))[2]
        found.append(data[at:end])
        at = end
    return tuple(found)


def host_query(organization_id: int) -> sa.Select[tuple[str]]:
    """The hosts of one organization."""
    return sa.select(hosts.c.host).where(hosts.c.organization_id == organization_id)


def organization_by_host(host: str) -> sa.Select[Any]:
    """The organization that has a host."""
    return sa.select(organizations).join(hosts).where(hosts.c.host == host)


def registrations_of(organization_id: int, sha256: bytes) -> sa.Select[Any]:
    """Every registration of one leaf in one organization, the oldest first."""
    wanted = (registrations.c.organization_id == organization_id) & (registrations.c.sha256 == sha256)
    return sa.select(registrations).where(wanted).order_by(registrations.c.id)
