"""What the directory has, as documents would want it: for a plan to compare, and for an export to write."""

from __future__ import annotations

import marshal
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from authz.admin.canary import CANARY
from authz.admin.described import described_organization
from authz.admin.documents import (
    Kind,
    Wanted,
    ca_content,
    crl_content,
    registration_content,
    registration_name,
    user_content,
)
from authz.directory.audit import canonical
from authz.directory.authorities import ANCHORS, INTERMEDIATES, Authorities
from authz.directory.organizations import list_organizations
from authz.directory.schema import crls, organizations, registrations, users
from authz.model import RegistrationKind

STREAMED: Final = {"yield_per": 1_000}
"""Rows that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Held:
    """A thing as a document would want it, and the id of its row."""

    wanted: Wanted
    row: int


def held(
    connection: sa.Connection, kind: Kind, *, ders: bool = False, within: Collection[str] | None = None
) -> Iterator[Held]:
    """Everything of a kind, but for the canary's; with `ders` the certificates, too, in `stored`.

    By organization, user and name, and CRLs as they were added, if `ders`; in any order otherwise. Users and
    registrations only of the organizations `within`, for None of all.
    """
    match kind:
        case Kind.ORGANIZATION:
            every = _organizations(connection)
        case Kind.ANCHOR:
            every = _authorities(connection, kind, ANCHORS)
        case Kind.INTERMEDIATE:
            every = _authorities(connection, kind, INTERMEDIATES)
        case Kind.USER:
            every = _users(connection, within, ordered=ders)
        case Kind.CERTIFICATE:
            every = _certificates(connection, within, ders=ders)
        case Kind.CRL:
            every = _crls(connection, ders=ders)
    return (thing for thing in every if thing.wanted.organization != CANARY)


def _organizations(connection: sa.Connection) -> Iterator[Held]:
    for organization in list_organizations(connection):
        content = canonical(described_organization(organization))
        yield Held(Wanted(Kind.ORGANIZATION, organization.name, "", "", content), organization.id)


def _authorities(connection: sa.Connection, kind: Kind, authorities: Authorities) -> Iterator[Held]:
    every = authorities.list(connection)
    for stored in sorted(every, key=lambda stored: (stored.organization or "", stored.certificate.sha256)):
        ca = stored.certificate
        wanted = Wanted(kind, stored.organization or "", "", ca.sha256.hex(), ca_content(ca), ca.der)
        yield Held(wanted, stored.id or 0)


def _users(connection: sa.Connection, within: Collection[str] | None, *, ordered: bool) -> Iterator[Held]:
    columns = users.c.id, users.c.name, users.c.enforcement, users.c.active, organizations.c.name.label("organization")
    query = sa.select(*columns).join(organizations, organizations.c.id == users.c.organization_id)
    query = query if within is None else query.where(organizations.c.name.in_(within))
    if ordered:
        query = query.order_by(organizations.c.name, users.c.name)
    for row in _stream(connection, query):
        content = user_content(row.enforcement, active=row.active)
        yield Held(Wanted(Kind.USER, row.organization, row.name, "", content), row.id)


def _certificates(connection: sa.Connection, within: Collection[str] | None, *, ders: bool) -> Iterator[Held]:
    names: tuple[str, ...] = ("id", "kind", "sha256", "spki_sha256", "identity", "anchor_sha256", "label")
    names += ("valid_from", "valid_until", "retired_at", "chain") + ("der",) * ders
    columns = (registrations.c[name] for name in names)
    query = sa.select(*columns, organizations.c.name.label("organization"), users.c.name.label("user_name"))
    query = query.join(users, users.c.id == registrations.c.user_id)
    query = query.join(organizations, organizations.c.id == registrations.c.organization_id)
    query = query if within is None else query.where(organizations.c.name.in_(within))
    if ders:
        query = query.order_by(organizations.c.name, users.c.name, registrations.c.id)
    for row in _stream(connection, query):
        period = row.valid_from, row.valid_until, row.retired_at
        kind, chain = RegistrationKind(row.kind), row.chain or b""
        content = registration_content(row.user_name, row.label, period, chain)
        stored = marshal.dumps((row.der or b"", chain, None)) if ders else b""
        digest = row.spki_sha256 if kind is RegistrationKind.KEY else row.sha256
        name = registration_name(kind, digest or b"", row.identity, row.anchor_sha256)
        wanted = Wanted(Kind.CERTIFICATE, row.organization, row.user_name, name, content, stored)
        yield Held(wanted, row.id)


def _crls(connection: sa.Connection, *, ders: bool) -> Iterator[Held]:
    columns = (crls.c.id, crls.c.sha256, *((crls.c.der,) if ders else ()))
    for row in connection.execute(sa.select(*columns).order_by(crls.c.id).execution_options(yield_per=1)):
        stored = row.der if ders else b""
        yield Held(Wanted(Kind.CRL, "", "", row.sha256.hex(), crl_content(row.sha256), stored), row.id)


def _stream(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[sa.Row[Any]]:
    return iter(connection.execute(query.execution_options(**STREAMED)))
