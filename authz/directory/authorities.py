"""Anchors and intermediates, each of one organization or shared by all, read and changed within a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from authz import pki
from authz.directory import schema
from authz.directory.organizations import require_organization
from authz.directory.queries import begins, behind, find, only
from authz.directory.schema import organizations
from authz.errors import Problem, Refused, StoreError

if TYPE_CHECKING:
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
        owner = _owner(connection, organization)
        query = self._all(after) if organization is None else self._usable(owner, after)
        every = connection.execute(query)
        names = {owner: organization, None: None}

        def read() -> Iterator[StoredCertificate]:
            with every:
                for row in every:
                    yield self._stored(row, row.name if organization is None else names[row.organization_id])

        return read()

    def _stored(self, row: sa.Row[Any], organization: str | None) -> StoredCertificate:
        try:
            ca = pki.Certificate.parse(row.der)
            ca.subject  # noqa: B018 - a name that cannot be read is reported as well
        except Refused as refusal:
            what, digest = self.table.name.removesuffix("s"), row.sha256.hex()
            message = f"{what} {digest} cannot be read: {refusal.detail}"
            about = {"what": what, "organization": organization, "sha256": digest}
            raise StoreError(message, kind=Problem.CA_UNREADABLE, **about) from refusal
        return StoredCertificate(organization, ca, row.id)

    def _all(self, after: int | None) -> sa.Select[Any]:
        columns = self.table.c.id, self.table.c.sha256, self.table.c.der, organizations.c.name
        return behind(sa.select(*columns).outerjoin(organizations), self.table.c.id, after)

    def _usable(self, owner: int | None, after: int | None) -> sa.CompoundSelect[Any]:
        """An organization's own and the shared: two lists in one order, which are merged, and not sorted."""
        columns = self.table.c
        query = sa.select(columns.id, columns.sha256, columns.der, columns.organization_id)
        query = query if after is None else query.where(columns.id > after)
        own, shared = query.where(columns.organization_id == owner), query.where(columns.organization_id.is_(None))
        return sa.union_all(own, shared).order_by("id")

    def digest(self, connection: sa.Connection, organization: str | None, beginning: str) -> bytes:
        """The SHA-256 that begins so, of one of an organization's, or for None of those shared by all."""
        owner = self.table.c.organization_id.is_not_distinct_from(_owner(connection, organization))
        query = sa.select(self.table.c.sha256).where(owner, begins(self.table.c.sha256, beginning))
        where = "shared certificate" if organization is None else f"certificate of {organization}"
        return only(connection.execute(query).scalars().all(), where, beginning, Problem.CERTIFICATE_UNKNOWN)

    def remove(self, connection: sa.Connection, organization: str | None, sha256: bytes) -> bytes:
        """Remove one from an organization, or for None from those shared by all; returns its DER."""
        row = find(connection, self.table, organization_id=_owner(connection, organization), sha256=sha256)
        if row is None:
            where = "shared by all" if organization is None else f"of {organization}"
            message = f"no certificate {where} has the SHA-256 {sha256.hex()}"
            raise StoreError(message, kind=Problem.CERTIFICATE_UNKNOWN)
        connection.execute(sa.delete(self.table).where(self.table.c.id == row.id))
        return bytes(row.der)


def known_authorities(connection: sa.Connection) -> list[bytes]:
    """Every anchor, then every intermediate, of any organization, in DER: each once, what was stored first before."""
    tables = (ANCHORS.table, INTERMEDIATES.table)
    queries = [sa.select(table.c.der).order_by(table.c.id) for table in tables]
    return list(dict.fromkeys(der for query in queries for der in connection.execute(query).scalars()))


def _owner(connection: sa.Connection, organization: str | None) -> int | None:
    return None if organization is None else require_organization(connection, organization).id


ANCHORS = Authorities(schema.anchors)
"""What an organization trusts."""

INTERMEDIATES = Authorities(schema.intermediates)
"""What is known without being trusted, for clients that do not send it."""
