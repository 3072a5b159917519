"""Registered certificates, read and changed within a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from authz.directory import rows
from authz.directory.limits import check_registration, overlaps
from authz.directory.organizations import require_organization
from authz.directory.queries import behind, inserted_key, named_registrations, registrations_of
from authz.directory.schema import registrations
from authz.directory.users import require_user
from authz.errors import Problem, StoreError
from authz.model import Registration
from authz.pki import Certificate


@dataclass(frozen=True, slots=True)
class StoredRegistration:
    """A registration with its leaf and the names of its organization and user."""

    organization: str
    user: str
    registration: Registration
    leaf: Certificate


def register(
    connection: sa.Connection,
    organization: str,
    user: str,
    leaf: Certificate,
    chain: Sequence[Certificate] = (),
    *,
    label: str = "",
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    now: datetime,
) -> StoredRegistration:
    """Register `leaf` for a user, with the intermediates it came with.

    A leaf may be registered again, for another user or another time, but not twice for one user at one time.
    """
    check_registration(chain, label, valid_from, valid_until)
    owner = require_user(connection, organization, user)
    for row in connection.execute(registrations_of(owner.organization_id, leaf.sha256)):
        if row.user_id == owner.id and overlaps(rows.registration(row), valid_from, valid_until, now):
            message = f"the certificate is registered for {user} already"
            raise StoreError(message, kind=Problem.CERTIFICATE_REGISTERED, id=row.id)
    values = {
        "organization_id": owner.organization_id,
        "user_id": owner.id,
        "sha256": leaf.sha256,
        "der": leaf.der,
        "chain": b"".join(ca.der for ca in chain),
        "label": label,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "created_at": now,
    }
    added = connection.execute(sa.insert(registrations).values(**values))
    return get_registration(connection, inserted_key(added))


def list_registrations(
    connection: sa.Connection, organization: str | None = None, user: str | None = None, after: int | None = None
) -> Iterator[StoredRegistration]:
    """Every registration, or those of one organization or user, the oldest first; those behind the id `after`."""
    wanted = {"organization": organization, "user": user}
    if organization is not None:
        require_organization(connection, organization)
    query = named_registrations(**{key: value for key, value in wanted.items() if value is not None})
    return map(_stored, connection.execute(behind(query, registrations.c.id, after)))


def get_registration(connection: sa.Connection, key: int) -> StoredRegistration:
    """One registration by its id."""
    row = connection.execute(named_registrations(id=key)).first()
    if row is None:
        raise StoreError(f"there is no registration {key}", kind=Problem.REGISTRATION_UNKNOWN)
    return _stored(row)


def registered_elsewhere(connection: sa.Connection, organization: str, sha256: bytes) -> list[str]:
    """The names of the other organizations in which the leaf is registered too."""
    names = {row.organization for row in connection.execute(named_registrations(sha256=sha256))}
    return sorted(names - {organization})


def retire(connection: sa.Connection, key: int, at: datetime) -> StoredRegistration:
    """End a registration at `at`; one that ended before stays ended then."""
    later = registrations.c.retired_at.is_(None) | (registrations.c.retired_at > at)
    connection.execute(sa.update(registrations).where(registrations.c.id == key, later).values(retired_at=at))
    return get_registration(connection, key)


def _stored(row: sa.Row[Any]) -> StoredRegistration:
    return StoredRegistration(row.organization, row.user_name, rows.registration(row), rows.certificate(row.der))
