"""Organizations with their hosts, read and changed within a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from authz.directory import rows
from authz.directory.limits import check_name, check_tokens, stored_host
from authz.directory.queries import behind, find, hosts_of, inserted_key, organization_by_host
from authz.directory.schema import anchors, hosts, intermediates, organizations, registrations, users
from authz.errors import Problem, StoreError
from authz.model import Organization, TokenSettings


def add_organization(connection: sa.Connection, organization: Organization) -> Organization:
    """Add an organization (its id is given by the directory) with its hosts, made canonical."""
    name = organization.name
    check_name("organization", name)
    if find(connection, organizations, name=name) is not None:
        raise StoreError(f"there is an organization {name} already", kind=Problem.ORGANIZATION_EXISTS)
    _check_tie(connection, organization)
    added = connection.execute(sa.insert(organizations).values(**_columns(organization)))
    return _set_hosts(connection, replace(organization, id=inserted_key(added)), organization.hosts)


def set_organization(connection: sa.Connection, organization: Organization) -> Organization:
    """Store what changed of an organization; its hosts become exactly the ones given."""
    here = organizations.c.id == organization.id
    row = find(connection, organizations, id=organization.id)
    # What an earlier version let through must not keep an operator from switching an organization off.
    if row is None or rows.token_settings(row) != organization.token:
        _check_tie(connection, organization)
    connection.execute(sa.update(organizations).where(here).values(**_columns(organization)))
    return _set_hosts(connection, organization, organization.hosts)


def _set_hosts(connection: sa.Connection, organization: Organization, wanted: Iterable[str]) -> Organization:
    """What stays is not written: readers would drop ten thousand hosts where one organization was switched off."""
    names = sorted(set(map(stored_host, wanted)))
    former = {row.host for row in connection.execute(hosts_of(organization.id))}
    for host in former.difference(names):
        connection.execute(sa.delete(hosts).where(hosts.c.host == host))
    for host in sorted(set(names) - former):
        taken = connection.execute(organization_by_host(host)).first()
        if taken is not None:
            raise StoreError(f"the host {host} belongs to {taken.name}", hint="nothing was changed")
        connection.execute(sa.insert(hosts).values(host=host, organization_id=organization.id))
    return replace(organization, hosts=tuple(names))


def list_organizations(connection: sa.Connection, after: str | None = None) -> Iterator[Organization]:
    """Every organization, by name; those behind the name `after`."""
    # A canonical host has no blank.
    named = sa.select(sa.func.aggregate_strings(hosts.c.host, " ")).where(hosts.c.organization_id == organizations.c.id)
    query = sa.select(organizations, named.scalar_subquery().label("hosts"))
    every = connection.execute(behind(query, organizations.c.name, after))
    return (_organization(row, (row.hosts or "").split()) for row in every)


def get_organization(connection: sa.Connection, name: str) -> Organization:
    """The organization of that name."""
    row = require_organization(connection, name)
    return _organization(row, (host.host for host in connection.execute(hosts_of(row.id))))


def _organization(row: sa.Row[Any], hosts: Iterable[str]) -> Organization:
    try:
        return rows.organization(row, hosts)
    except ValueError as error:
        hint = "its requests are refused; another program or a later version wrote it, and can write it again"
        raise StoreError(f"the row of the organization {row.name} makes no sense: {error}", hint=hint) from error


def require_organization(connection: sa.Connection, name: str) -> sa.Row[Any]:
    """The row of the organization of that name. Raises `StoreError` without one."""
    row = find(connection, organizations, name=name)
    if row is None:
        raise StoreError(f"there is no organization {name}", kind=Problem.ORGANIZATION_UNKNOWN, organization=name)
    return row


def remove_organization(connection: sa.Connection, name: str) -> None:
    """Remove an organization with its hosts, users, anchors, registrations and decisions."""
    row = require_organization(connection, name)
    connection.execute(sa.delete(organizations).where(organizations.c.id == row.id))


def holdings(connection: sa.Connection, organization_id: int) -> dict[str, int]:
    """How many anchors, intermediates, users and registrations an organization has, by the name of their table."""
    count = sa.select(sa.func.count())
    return {
        str(table.name): connection.execute(count.where(table.c.organization_id == organization_id)).scalar_one()
        for table in (anchors, intermediates, users, registrations)
    }


def _check_tie(connection: sa.Connection, organization: Organization) -> None:
    """Raises `StoreError` where a token of one organization could name a user of another."""
    neighbours = sa.select(organizations).where(organizations.c.name != organization.name)
    for neighbour in connection.execute(neighbours.where(_may_cross(organization.token))):
        check_tokens(organization.token, neighbour.name, rows.token_settings(neighbour))


def _may_cross(own: TokenSettings) -> sa.ColumnElement[bool]:
    """Whose tokens may cross with those of `own`: all for which `check_tokens` raises, found by an index.

    Of ten thousand organizations those without tokens, and those tied by a claim to the issuer of all, are not read.
    """
    names = ("token_issuer", "token_organization_claim", "token_audience", "token_audience_claim")
    issuer, claim, audience, audience_claim = (organizations.c[name] for name in names)
    if own.issuer is None:
        return issuer.is_not(None)
    here = issuer == own.issuer
    alike = audience.is_not(None) if own.audience is None else audience == own.audience
    # One token may have the audience of each, in different claims.
    alike |= audience.is_not(None) & (audience_claim != own.audience_claim)
    ways = [issuer.is_(None) & claim.is_not(None), here & claim.is_(None) & alike]
    if own.organization_claim is None:
        ways.append(here & claim.is_not(None) & (alike | audience.is_(None)))
    return sa.or_(*ways)


def _columns(organization: Organization) -> dict[str, object]:
    """An organization as its row holds it, but for its key and its revisions."""
    token = {f"token_{name}": getattr(organization.token, name) for name in rows.TOKEN_SETTINGS}
    names = ("name", "active", "binding_scope", "default_enforcement")
    kinds = {"binding_kinds": " ".join(organization.binding_kinds)}
    return {name: getattr(organization, name) for name in names} | kinds | token | rows.path_columns(organization.path)
