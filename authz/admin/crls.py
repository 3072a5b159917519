"""CRLs: added; and fetched by the running service, which is asked to. Every function raises `StoreError`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import chain

import sqlalchemy as sa

from authz.admin.audited_store import AuditedStore
from authz.admin.described import described_crl
from authz.directory import crls
from authz.directory.crls import StoredCrl, known_cas, list_fetched_crls
from authz.directory.registrations import (
    StoredRegistration,
    leaves_of,
    list_registrations,
    listed_registrations,
)
from authz.errors import Refused
from authz.pki import Certificate, Crl
from authz.pki.revocation.failed_rules import listed_names


@dataclass(frozen=True, slots=True)
class AddedCrl:
    """A CRL that was added, the registrations whose certificates it lists, and whether it is out of date already.

    `unmet` are the names of its distribution point, if no certificate that is known names one of them.
    """

    stored: StoredCrl
    listed: list[StoredRegistration]
    outdated: bool
    unmet: str


@dataclass(frozen=True, slots=True)
class RemovedCrl:
    """A CRL that was removed, the registrations whose certificates it listed, and how many of its issuer are left."""

    stored: StoredCrl
    listed: list[StoredRegistration]
    left: int


def add_crl(store: AuditedStore, crl: Crl, now: datetime, *, anyway: bool = False) -> AddedCrl:
    """Keep a CRL that a known CA signed, in place of the one it supersedes; an expired one only if `anyway`."""
    # CAs may be many: they are read before the lock is taken.
    with store.reading() as connection:
        known = known_cas(connection)
    with store.change() as change:
        stored = crls.add_crl(change.connection, crl, known, now, anyway=anyway)
        change.record("add", f"crl {crl.sha256.hex()}", after=described_crl(stored))
    with store.reading() as connection:
        listed, unmet = listed_registrations(connection, crl), _unmet(connection, crl)
    return AddedCrl(stored, listed, crl.next_update is None or crl.next_update < now, unmet)


def remove_crl(store: AuditedStore, sha256: bytes) -> RemovedCrl:
    """Remove a CRL that was added."""
    with store.change() as change:
        removed = crls.remove_crl(change.connection, sha256)
        change.record("remove", f"crl {sha256.hex()}", before=described_crl(removed))
    issuer = removed.crl.issuer
    with store.reading() as connection:
        left = len(store.crl_store().under(issuer) or ())
        left += sum(crl.issuer == issuer.text and crl.sha256 != sha256 for crl in list_fetched_crls(connection))
        return RemovedCrl(removed, listed_registrations(connection, removed.crl), left)


def _unmet(connection: sa.Connection, crl: Crl) -> str:
    """The names of the CRL's distribution point, if no certificate that is known names one of them."""
    if not crl.names:
        return ""
    # Only an indirect CRL speaks for certificates of another issuer (RFC 5280 section 6.3.3 (b) (1)).
    every = (row.leaf for row in list_registrations(connection) if row.leaf is not None)
    leaves = every if crl.indirect else leaves_of(connection, crl.issuer)
    met = any(_meets(certificate, crl) for certificate in chain(leaves, known_cas(connection)))
    return "" if met else listed_names(crl.names)


def _meets(certificate: Certificate, crl: Crl) -> bool:
    """Whether a point of the certificate has one of the CRL's names."""
    try:
        points = [point for point in certificate.crl_points if crl.issuer in point.crl_issuers]
    except Refused:
        return False
    return any(not point.names.isdisjoint(crl.names) for point in points)


def renumber(store: AuditedStore, location: str, now: datetime) -> None:
    """Have the running service take the next CRL of a source by its date, though its number is lower than those before.

    Nothing from before `now` can pass for it; the source is asked at once.
    """
    with store.change() as change:
        crls.renumber_source(change.connection, location, now)
        change.record("renumber", f"crl source {location}", after={"until": now})


def request_fetch(store: AuditedStore, wanted: str | None, now: datetime) -> list[str]:
    """Have the running service fetch: from a location, for an issuer, or for None everything. Returns the locations."""
    with store.change() as change:
        locations = crls.ask_crl_sources(change.connection, wanted, now)
        change.record("request", "crl sources", after={"wanted": wanted, "locations": len(locations)})
    return locations
