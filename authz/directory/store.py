"""What the command and the demo write to the directory, each verb one transaction: wholly or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from authz.directory import rows
from authz.directory.decision_rows import Filter, decision_query, recorded, wanted_decisions
from authz.directory.limits import (
    check_name,
    check_order,
    check_registration,
    check_tokens,
    overlaps,
    stored_host,
)
from authz.directory.queries import columns, find, inserted_key, registration_query, require_organization, require_user
from authz.directory.schema import (
    anchors,
    crl_sources,
    crls,
    fetched_crls,
    hosts,
    intermediates,
    organizations,
    registrations,
    users,
)
from authz.directory.sqlite.engine import open_engine
from authz.directory.sqlite.migrate import migrate
from authz.errors import Refused, StoreError
from authz.model import (
    CrlSourceKind,
    CrlSourceState,
    Enforcement,
    FetchedCrl,
    Organization,
    Recorded,
    Registration,
    User,
)
from authz.pki import Certificate, Crl, CrlStore, signer_of


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """An anchor or intermediate; `organization` None is shared by all."""

    organization: str | None
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class StoredRegistration:
    """A registration with its leaf and the names of its organization and user."""

    organization: str
    user: str
    registration: Registration
    leaf: Certificate


@dataclass(frozen=True, slots=True)
class StoredCrl:
    """A CRL, the SHA-256 of the key that signed it, and when it was added."""

    crl: Crl
    signer: bytes
    added_at: datetime


class Store:
    """The directory for writers. Opening brings it up to date.

    Every method raises `StoreError` when the directory cannot be used, or has not what it names.
    """

    def __init__(self, url: str) -> None:
        migrate(url)
        self._engine = open_engine(url)

    def close(self) -> None:
        """Give the database back."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.IntegrityError as error:
            raise StoreError(f"the directory refuses: {error.orig}", hint="nothing was changed") from error
        except sa.exc.DatabaseError as error:
            raise StoreError(f"the directory cannot be used: {error.orig}", hint="nothing was changed") from error

    # -- organizations -------------------------------------------------------------------------------

    def add_organization(self, organization: Organization) -> Organization:
        """Add an organization (its id is given by the directory) with its hosts, made canonical."""
        check_name("organization", organization.name)
        with self._transaction() as connection:
            if find(connection, organizations, name=organization.name) is not None:
                raise StoreError(
                    f"there is an organization {organization.name} already", hint="change it with 'authz org set'"
                )
            _check_tie(connection, organization)
            added = connection.execute(sa.insert(organizations).values(**columns(organization)))
            new = replace(organization, id=inserted_key(added))
            return self._set_hosts(connection, new, organization.hosts)

    def set_organization(self, organization: Organization) -> Organization:
        """Store what changed of an organization; its hosts become exactly the ones given."""
        with self._transaction() as connection:
            here = organizations.c.id == organization.id
            held = find(connection, organizations, id=organization.id)
            # What an earlier version let through must not keep anybody from switching an organization off.
            if held is None or rows.token_settings(held) != organization.token:
                _check_tie(connection, organization)
            connection.execute(sa.update(organizations).where(here).values(**columns(organization)))
            return self._set_hosts(connection, organization, organization.hosts)

    def _set_hosts(self, connection: sa.Connection, organization: Organization, wanted: Iterable[str]) -> Organization:
        names = sorted({stored_host(one) for one in wanted})
        connection.execute(sa.delete(hosts).where(hosts.c.organization_id == organization.id))
        for host in names:
            taken = connection.execute(rows.organization_by_host(host)).first()
            if taken is not None:
                raise StoreError(f"the host {host} belongs to {taken.name}", hint="nothing was changed")
            connection.execute(sa.insert(hosts).values(host=host, organization_id=organization.id))
        return replace(organization, hosts=tuple(names))

    def organizations(self) -> list[Organization]:
        """Every organization, by name."""
        with self._transaction() as connection:
            found = connection.execute(sa.select(organizations).order_by(organizations.c.name)).all()
            return [self._organization(connection, one) for one in found]

    def organization(self, name: str) -> Organization:
        """The organization of that name."""
        with self._transaction() as connection:
            return self._organization(connection, require_organization(connection, name))

    def _organization(self, connection: sa.Connection, row: sa.Row[Any]) -> Organization:
        return rows.organization(row, list(connection.execute(rows.host_query(row.id))))

    def remove_organization(self, name: str) -> None:
        """Remove an organization with its hosts, users, anchors, registrations and decisions."""
        with self._transaction() as connection:
            found = require_organization(connection, name)
            connection.execute(sa.delete(organizations).where(organizations.c.id == found.id))

    # -- anchors and intermediates -------------------------------------------------------------------

    def add_anchors(self, organization: str | None, certificates: Sequence[Certificate]) -> list[Certificate]:
        """Trust these certificates in one organization, or for None in every one; those that were new."""
        return self._add_certificates(anchors, organization, certificates)

    def add_intermediates(self, organization: str | None, certificates: Sequence[Certificate]) -> list[Certificate]:
        """Know these CA certificates, without trusting them; those that were new."""
        return self._add_certificates(intermediates, organization, certificates)

    def _add_certificates(
        self, table: sa.Table, name: str | None, certificates: Sequence[Certificate]
    ) -> list[Certificate]:
        with self._transaction() as connection:
            owner = None if name is None else require_organization(connection, name).id
            new = []
            for one in certificates:
                if find(connection, table, organization_id=owner, sha256=one.sha256) is None:
                    values = {"organization_id": owner, "sha256": one.sha256, "der": one.der}
                    connection.execute(sa.insert(table).values(**values))
                    new.append(one)
            return new

    def anchors(self, organization: str | None = None) -> list[StoredCertificate]:
        """The anchors of one organization and the shared ones; all there are for None."""
        return self._certificates(anchors, organization)

    def intermediates(self, organization: str | None = None) -> list[StoredCertificate]:
        """The intermediates of one organization and the shared ones; all there are for None."""
        return self._certificates(intermediates, organization)

    def _certificates(self, table: sa.Table, name: str | None) -> list[StoredCertificate]:
        query = sa.select(table.c.der, organizations.c.name).outerjoin(organizations).order_by(table.c.id)
        with self._transaction() as connection:
            if name is not None:
                owner = require_organization(connection, name).id
                query = query.where((table.c.organization_id == owner) | table.c.organization_id.is_(None))
            found = connection.execute(query).all()
        return [StoredCertificate(one.name, _stored(one.der)) for one in found]

    def remove_anchor(self, organization: str | None, sha256: bytes) -> None:
        """Trust a certificate no longer."""
        self._remove_certificate(anchors, organization, sha256)

    def remove_intermediate(self, organization: str | None, sha256: bytes) -> None:
        """Know an intermediate no longer."""
        self._remove_certificate(intermediates, organization, sha256)

    def _remove_certificate(self, table: sa.Table, name: str | None, sha256: bytes) -> None:
        with self._transaction() as connection:
            owner = None if name is None else require_organization(connection, name).id
            found = find(connection, table, organization_id=owner, sha256=sha256)
            if found is None:
                where = "shared by all" if name is None else f"of {name}"
                hint = "list them with 'authz anchor list' or 'authz intermediate list'"
                raise StoreError(f"no certificate {where} has the SHA-256 {sha256.hex()}", hint=hint)
            connection.execute(sa.delete(table).where(table.c.id == found.id))

    # -- users ---------------------------------------------------------------------------------------

    def add_user(self, organization: str, name: str, enforcement: Enforcement | None = None) -> User:
        """Add a user; without an enforcement the organization's default is his."""
        check_name("user", name)
        with self._transaction() as connection:
            owner = require_organization(connection, organization)
            if find(connection, users, organization_id=owner.id, name=name) is not None:
                raise StoreError(f"{organization} has a user {name} already", hint="change it with 'authz user set'")
            chosen = enforcement or Enforcement(owner.default_enforcement)
            values = {"organization_id": owner.id, "name": name, "enforcement": chosen, "active": True}
            return User(inserted_key(connection.execute(sa.insert(users).values(**values))), owner.id, name, chosen)

    def set_user(self, user: User) -> None:
        """Store a user's enforcement and whether he is active."""
        with self._transaction() as connection:
            values = {"enforcement": user.enforcement, "active": user.active}
            connection.execute(sa.update(users).where(users.c.id == user.id).values(**values))

    def users(self, organization: str) -> list[User]:
        """Every user of an organization, by name."""
        with self._transaction() as connection:
            owner = require_organization(connection, organization)
            query = sa.select(users).where(users.c.organization_id == owner.id).order_by(users.c.name)
            return [rows.user(one) for one in connection.execute(query)]

    def user(self, organization: str, name: str) -> User:
        """One user."""
        with self._transaction() as connection:
            return rows.user(require_user(connection, organization, name))

    def remove_user(self, organization: str, name: str) -> None:
        """Remove a user with his registrations."""
        with self._transaction() as connection:
            found = require_user(connection, organization, name)
            connection.execute(sa.delete(users).where(users.c.id == found.id))

    # -- registered certificates -----------------------------------------------------------------------

    def register(
        self,
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
        with self._transaction() as connection:
            owner = require_user(connection, organization, user)
            for one in connection.execute(rows.registrations_of(owner.organization_id, leaf.sha256)):
                if one.user_id == owner.id and overlaps(rows.registration(one), valid_from, valid_until, now):
                    hint = f"it has the id {one.id}; retire it with 'authz cert retire {one.id}'"
                    raise StoreError(f"the certificate is registered for {user} already", hint=hint)
            values = {
                "organization_id": owner.organization_id,
                "user_id": owner.id,
                "sha256": leaf.sha256,
                "der": leaf.der,
                "chain": b"".join(one.der for one in chain),
                "label": label,
                "valid_from": valid_from,
                "valid_until": valid_until,
                "created_at": now,
            }
            key = inserted_key(connection.execute(sa.insert(registrations).values(**values)))
            return _stored_registration(connection.execute(registration_query(id=key)).one())

    def registrations(self, organization: str | None = None, user: str | None = None) -> list[StoredRegistration]:
        """Every registration, or those of one organization or user."""
        wanted = {"organization": organization, "user": user}
        with self._transaction() as connection:
            if organization is not None:
                require_organization(connection, organization)
            query = registration_query(**{key: value for key, value in wanted.items() if value is not None})
            return [_stored_registration(one) for one in connection.execute(query)]

    def registration(self, key: int) -> StoredRegistration:
        """One registration by its id."""
        with self._transaction() as connection:
            found = connection.execute(registration_query(id=key)).first()
        if found is None:
            raise StoreError(f"there is no registration {key}", hint="list them with 'authz cert list'")
        return _stored_registration(found)

    def registered_elsewhere(self, organization: str, sha256: bytes) -> list[str]:
        """The names of the other organizations in which the leaf is registered too."""
        with self._transaction() as connection:
            found = {one.organization for one in connection.execute(registration_query(sha256=sha256))}
        return sorted(found - {organization})

    def retire(self, key: int, at: datetime) -> StoredRegistration:
        """End a registration at `at`; one that ended before stays ended then."""
        found = self.registration(key)
        ended = found.registration.retired_at
        if ended is None or at < ended:
            with self._transaction() as connection:
                here = registrations.c.id == key
                connection.execute(sa.update(registrations).where(here).values(retired_at=at))
        return self.registration(key)

    # -- CRLs ----------------------------------------------------------------------------------------

    def add_crl(self, crl: Crl, now: datetime) -> StoredCrl:
        """Keep a CRL that the key of a known CA signed; those it replaces go.

        Known are the anchors and intermediates of every organization and the CAs stored with
        registrations: a CRL speaks for a key, so nobody's answers for another's.
        """
        if crl.this_update > now:
            # It would replace the one that holds now, and say nothing itself.
            hint = "compare the clocks of CA and service, or add it later"
            raise StoreError(f"this CRL begins on {crl.this_update:%Y-%m-%d %H:%M:%SZ}", hint=hint)
        with self._transaction() as connection:
            signer = _signer(crl, _known_cas(connection))
            for one in connection.execute(sa.select(crls).where(crls.c.signer == signer.spki_sha256)):
                held = Crl(one.der)
                if (held.issuer, held.scope) != (crl.issuer, crl.scope):
                    continue
                if held.is_delta == crl.is_delta:
                    check_order(crl, held)
                if crl.replaces(held):
                    connection.execute(sa.delete(crls).where(crls.c.id == one.id))
            values = {"sha256": crl.sha256, "signer": signer.spki_sha256, "der": crl.der, "added_at": now}
            values["signer_key"] = signer.spki_der
            connection.execute(sa.insert(crls).values(**values))
        return StoredCrl(crl, signer.spki_sha256, now)

    def remove_crls(self, signer: bytes) -> None:
        """Remove the CRLs that a key signed, by the SHA-256 of its SubjectPublicKeyInfo."""
        with self._transaction() as connection:
            connection.execute(sa.delete(crls).where(crls.c.signer == signer))

    def crls(self) -> list[StoredCrl]:
        """Every CRL, in the order added."""
        with self._transaction() as connection:
            found = connection.execute(sa.select(crls).order_by(crls.c.id)).all()
        return [StoredCrl(Crl(one.der), one.signer, one.added_at) for one in found]

    def crl_store(self) -> CrlStore:
        """All CRLs, as the validator wants them; one that cannot be read is left out, as the service does."""
        with self._transaction() as connection:
            ders = connection.execute(sa.select(crls.c.der)).scalars().all()
        read = []
        for der in ders:
            with contextlib.suppress(Refused):
                read.append(Crl(der))
        return CrlStore(read)

    # -- the sources of CRLs, as the running service tells of them --------------------------------------

    def crl_sources(self) -> list[CrlSourceState]:
        """How every source fares, by location."""
        with self._transaction() as connection:
            found = connection.execute(sa.select(crl_sources).order_by(crl_sources.c.location)).all()
        names = [one.name for one in fields(CrlSourceState)]
        states = [CrlSourceState(**{name: getattr(row, name) for name in names}) for row in found]
        return [replace(one, kind=CrlSourceKind(one.kind)) for one in states]

    def fetched_crls(self) -> list[FetchedCrl]:
        """The CRLs that the service holds from sources, by issuer."""
        with self._transaction() as connection:
            found = connection.execute(sa.select(fetched_crls).order_by(fetched_crls.c.issuer, fetched_crls.c.name))
            return [FetchedCrl(**row._asdict()) for row in found]

    def ask_crl_sources(self, wanted: str | None, now: datetime) -> list[str]:
        """Have the running service try sources now: that of a location, those of an issuer's CRLs, or for None all."""
        location = crl_sources.c.location
        with self._transaction() as connection:
            query = sa.select(location).order_by(location)
            if wanted is not None:
                of_issuer = sa.select(fetched_crls.c.location).where(fetched_crls.c.issuer == wanted)
                query = query.where((location == wanted) | location.in_(of_issuer))
            found = list(connection.execute(query).scalars())
            if wanted is not None and not found:
                raise StoreError(f"no source is {wanted}, or has given its CRL", hint="list them with 'authz crl list'")
            connection.execute(sa.update(crl_sources).where(location.in_(found)).values(asked_at=now))
        return found

    # -- the history -----------------------------------------------------------------------------------

    def decisions(self, wanted: Filter) -> list[Recorded]:
        """The newest decisions that a filter lets through, the newest first, without their headers."""
        with self._transaction() as connection:
            return [recorded(one) for one in connection.execute(wanted_decisions(wanted))]

    def decision(self, beginning: str) -> Recorded:
        """The one decision whose id begins so, with its headers."""
        with self._transaction() as connection:
            found = connection.execute(decision_query(beginning)).all()
        if len(found) != 1:
            how = "no decision of the history has" if not found else "more than one decision has"
            hint = "list them with 'authz decisions list'; those allowed, and those too old, are not kept, "
            hint += "and of a day's refusals alike, without any identity, only the last"
            raise StoreError(f"{how} an id that begins with {beginning}", hint=hint)
        return recorded(found[0])


def _check_tie(connection: sa.Connection, organization: Organization) -> None:
    """Raises `StoreError` where a token of one organization could name a user of another."""
    others = sa.select(organizations).where(organizations.c.name != organization.name).order_by(organizations.c.id)
    for other in connection.execute(others):
        check_tokens(organization.token, other.name, rows.token_settings(other))


def _stored_registration(row: sa.Row[Any]) -> StoredRegistration:
    return StoredRegistration(row.organization, row.user_name, rows.registration(row), _stored(row.der))


def _stored(der: bytes) -> Certificate:
    try:
        return Certificate.parse(der)
    except Refused as refusal:
        raise StoreError(f"a stored certificate cannot be read: {refusal.detail}", hint="remove it") from refusal


def _known_cas(connection: sa.Connection) -> list[Certificate]:
    """Every CA certificate the directory holds, anybody's."""
    ders = {one.der for table in (anchors, intermediates) for one in connection.execute(sa.select(table.c.der))}
    for row in connection.execute(sa.select(registrations.c.chain).distinct()):
        ders.update(rows.split_chain(row.chain))
    return [_stored(one) for one in ders]


def _signer(crl: Crl, known: list[Certificate]) -> Certificate:
    try:
        return signer_of(crl, known)
    except Refused as refusal:
        hint = "add its CA first, with 'authz anchor add' or 'authz intermediate add'"
        raise StoreError(refusal.detail, hint=hint) from refusal
