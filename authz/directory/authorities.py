"""Anchors and intermediates, each of one organization or shared by all, read and changed within a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from authz.directory import schema
from authz.directory.organizations import require_organization
from authz.directory.queries import behind, find
from authz.directory.rows import certificate
from authz.directory.schema import organizations
from authz.errors import Problem, StoreError
from authz.pki import Certificate


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """An anchor or intermediate; `organization` None is shared by all, and `id` None not stored yet."""

    organization: str | None
    certificate: Certificate
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Authorities:
    """CA certificates of one `table`."""

    table: sa.Table

    def add(
        self, connection: sa.Connection, organization: str | None, certificates: Sequence[Certificate]
    ) -> list[Certificate]:
        """Add these to one organization, or for None to every one; returns those that were new."""
        owner = _owner(connection, organization)
        new = []
        for ca in certificates:
            if find(connection, self.table, organization_id=owner, sha256=ca.sha256) is None:
                values = {"organization_id": owner, "sha256": ca.sha256, "der": ca.der}
                connection.execute(sa.insert(self.table).values(**values))
                new.append(ca)
        return new

    def list(
        self, connection: sa.Connection, organization: str | None = None, after: int | None = None
    ) -> Iterator[StoredCertificate]:
        """Those of one organization and the shared ones, all there are for None; those behind the id `after`."""
        table = self.table
        query = sa.select(table.c.id, table.c.der, organizations.c.name).outerjoin(organizations)
        if organization is not None:
            owner = _owner(connection, organization)
            query = query.where((table.c.organization_id == owner) | table.c.organization_id.is_(None))
        every = connection.execute(behind(query, table.c.id, after))
        return (StoredCertificate(row.name, certificate(row.der), row.id) for row in every)

    def remove(self, connection: sa.Connection, organization: str | None, sha256: bytes) -> None:
        """Remove one from an organization, or for None from those shared by all."""
        row = find(connection, self.table, organization_id=_owner(connection, organization), sha256=sha256)
        if row is None:
            where = "shared by all" if organization is None else f"of {organization}"
            message = f"no certificate {where} has the SHA-256 {sha256.hex()}"
            raise StoreError(message, kind=Problem.CERTIFICATE_UNKNOWN)
        connection.execute(sa.delete(self.table).where(self.table.c.id == row.id))


def _owner(connection: sa.Connection, organization: str | None) -> int | None:
    return None if organization is None else require_organization(connection, organization).id


ANCHORS = Authorities(schema.anchors)
"""What an organization trusts."""

INTERMEDIATES = Authorities(schema.intermediates)
"""What is known without being trusted, for clients that do not send it."""
