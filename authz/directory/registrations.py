"""Registered certificates, read and changed within a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from authz import pki
from authz.directory import rows
from authz.directory.leaf_columns import leaf_columns, serial_number
from authz.directory.limits import check_registration, overlaps
from authz.directory.organizations import require_organization
from authz.directory.queries import (
    MAX_CANDIDATES,
    begins,
    behind,
    distinct_names,
    inserted_key,
    named_registrations,
)
from authz.directory.schema import organizations, registrations, users
from authz.directory.users import require_user
from authz.errors import Problem, StoreError
from authz.model import Registration, RegistrationKind

if TYPE_CHECKING:
    from authz.pki import Certificate, Crl, Name


@dataclass(frozen=True, slots=True)
class StoredRegistration:
    """A registration with the names of its organization and user.

    `leaf` is None where no certificate was stored, or one that cannot be read any more.
    """

    organization: str
    user: str
    registration: Registration
    leaf: Certificate | None


def register(
    connection: sa.Connection,
    organization: str,
    user: str,
    leaf: Certificate | None,
    chain: Sequence[Certificate] = (),
    *,
    kind: RegistrationKind = RegistrationKind.CERTIFICATE,
    identity: str | None = None,
    anchor_sha256: bytes | None = None,
    label: str = "",
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    now: datetime,
) -> StoredRegistration:
    """Register `leaf`, its key, or a name below an anchor for a user, with the intermediates it came with.

    The same may be registered again, for another user or another time, but not twice for one user at one time; a name
    below one anchor is one user's. Only a name needs no leaf.
    """
    check_registration(chain, label, valid_from, valid_until)
    owner = require_user(connection, organization, user)
    _check_kind(connection, organization, kind)
    values = {
        "organization_id": owner.organization_id,
        "user_id": owner.id,
        "kind": kind,
        "identity": identity,
        "anchor_sha256": anchor_sha256,
        **({} if leaf is None else leaf_columns(leaf, b"".join(ca.der for ca in chain))),
        "label": label,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "created_at": now,
    }
    known = {name: values.get(name) for name in rows.REGISTRATION if name not in {"id", "chain"}}
    _check_overlap(connection, Registration(id=0, **known), now)  # type: ignore[arg-type]
    added = connection.execute(sa.insert(registrations).values(**values))
    return get_registration(connection, inserted_key(added))


def _check_kind(connection: sa.Connection, organization: str, kind: RegistrationKind) -> None:
    allowed = require_organization(connection, organization).binding_kinds.split()
    if kind not in allowed:
        message = f"registrations of kind {kind} do not count in {organization}: {', '.join(allowed)} alone"
        raise StoreError(
            message, kind=Problem.KIND_NOT_ALLOWED, organization=organization, kinds=",".join((*allowed, kind))
        )


def _check_overlap(connection: sa.Connection, new: Registration, now: datetime) -> None:
    """Raises `StoreError` where another registration of the same counts in a part of the same time."""
    for row in connection.execute(sa.select(registrations).where(_alike(new), registrations.c.id != new.id)):
        if row.user_id != new.user_id and new.kind is not RegistrationKind.IDENTITY:
            continue
        if overlaps(rows.registration(row, lenient=True), new.valid_from, new.valid_until, now):
            message = f"the {new.kind} is registered already, as {row.id}"
            raise StoreError(message, kind=Problem.CERTIFICATE_REGISTERED, id=row.id)


def _alike(registration: Registration) -> sa.ColumnElement[bool]:
    """Whether a row names the same in the same organization, for whatever user."""
    names = {
        RegistrationKind.CERTIFICATE: ("sha256",),
        RegistrationKind.KEY: ("spki_sha256",),
        RegistrationKind.IDENTITY: ("identity", "anchor_sha256"),
    }[registration.kind]
    return sa.and_(
        *(registrations.c[name] == getattr(registration, name) for name in ("organization_id", "kind", *names))
    )


def renewals_of(connection: sa.Connection, retired: Registration, leaf: Certificate) -> list[StoredRegistration]:
    """The registrations of the same user that have not ended and name the leaf's key or a name of it."""
    columns = registrations.c
    key = (columns.kind == RegistrationKind.KEY) & (columns.spki_sha256 == leaf.spki_sha256)
    name = (columns.kind == RegistrationKind.IDENTITY) & columns.identity.in_(pki.identities_of(leaf))
    query = named_registrations().where(columns.user_id == retired.user_id, columns.retired_at.is_(None), key | name)
    return [_stored(row) for row in connection.execute(query.order_by(columns.id))]


def list_registrations(
    connection: sa.Connection, organization: str | None = None, user: str | None = None, after: int | None = None
) -> Iterator[StoredRegistration]:
    """Every registration, or those of one organization or user, the oldest first; those behind the id `after`."""
    query = named_registrations()
    if organization is not None:
        owner = require_organization(connection, organization).id
        of_user = sa.select(users.c.id).where(users.c.organization_id == owner, users.c.name == user)
        of_owner = registrations.c.organization_id == owner
        query = query.where(of_owner if user is None else registrations.c.user_id == of_user.scalar_subquery())
    elif user is not None:
        # A look-up in each organization: there is no index on the names of all users.
        named = sa.select(users.c.id).where(users.c.organization_id.in_(sa.select(organizations.c.id)))
        named = named.where(users.c.name == user)
        query = query.where(registrations.c.user_id.in_(named))
    return map(_stored, connection.execute(behind(query, registrations.c.id, after)))


def get_registration(connection: sa.Connection, key: int) -> StoredRegistration:
    """One registration by its id."""
    row = connection.execute(named_registrations(id=key)).first()
    if row is None:
        raise StoreError(f"there is no registration {key}", kind=Problem.REGISTRATION_UNKNOWN)
    return _stored(row)


def listed_registrations(connection: sa.Connection, crl: Crl) -> list[StoredRegistration]:
    """The registrations whose certificates a CRL lists, the oldest first; of those that can be read."""
    names = distinct_names(connection, registrations.c.issuer)
    query = sa.select(registrations.c.id, registrations.c.serial).where(
        registrations.c.issuer == sa.bindparam("issuer")
    )
    keys = [
        row.id
        for name in (names if crl.indirect else [crl.issuer])
        for issuer in names.get(name, ())
        for row in connection.execute(query, {"issuer": issuer})
        if crl.index.find(serial_number(row.serial), name) is not None
    ]
    return [get_registration(connection, key) for key in sorted(keys)]


def leaves_of(connection: sa.Connection, issuer: Name) -> Iterator[Certificate]:
    """The registered certificates that an issuer of that name issued, but for those that cannot be read."""
    ders = distinct_names(connection, registrations.c.issuer).get(issuer, [])
    query = sa.select(registrations.c.der).where(registrations.c.issuer.in_(ders))
    return filter(None, map(rows.readable, connection.execute(query).scalars()))


def find_registration(connection: sa.Connection, beginning: str) -> StoredRegistration:
    """The one registration whose leaf has a SHA-256 that begins so. Raises `StoreError` for none, or several."""
    query = named_registrations().where(begins(registrations.c.sha256, beginning)).order_by(registrations.c.id)
    rows_ = connection.execute(query.limit(MAX_CANDIDATES + 1)).all()
    if not rows_:
        message = f"no registered certificate has a SHA-256 that begins with {beginning}"
        raise StoreError(message, kind=Problem.REGISTRATION_UNKNOWN)
    if len(rows_) > 1:
        listed = ", ".join(f"{row.id} ({row.user_name} of {row.organization})" for row in rows_[:MAX_CANDIDATES])
        more = ", …" if len(rows_) > MAX_CANDIDATES else ""
        message = f"several registrations are of certificates whose SHA-256 begins with {beginning}: {listed}{more}"
        raise StoreError(message, hint="name the one that is meant by its id")
    return _stored(rows_[0])


def registered_elsewhere(connection: sa.Connection, organization: str, sha256: bytes) -> list[str]:
    """The names of the other organizations in which the leaf is registered too."""
    names = {row.organization for row in connection.execute(named_registrations(sha256=sha256))}
    return sorted(names - {organization})


def retire(connection: sa.Connection, key: int, at: datetime) -> StoredRegistration:
    """End a registration at `at`; one that ended before stays ended then."""
    later = registrations.c.retired_at.is_(None) | (registrations.c.retired_at > at)
    connection.execute(sa.update(registrations).where(registrations.c.id == key, later).values(retired_at=at))
    return get_registration(connection, key)


def set_registration(
    connection: sa.Connection, key: int, changed: Mapping[str, object], now: datetime
) -> StoredRegistration:
    """Change label, valid_from, valid_until or retired_at of a registration; what is not given stays."""
    present = get_registration(connection, key).registration
    new = replace(present, **changed)  # type: ignore[arg-type]
    check_registration((), new.label, new.valid_from, new.valid_until)
    if new.retired_at is None:
        _check_overlap(connection, new, now)
    # What stays is not written: each write is a revision.
    if new != present:
        connection.execute(sa.update(registrations).where(registrations.c.id == key).values(**changed))
    return get_registration(connection, key)


def _stored(row: sa.Row[Any]) -> StoredRegistration:
    registration = rows.registration(row, lenient=True)
    return StoredRegistration(row.organization, row.user_name, registration, rows.readable(row.der))
