"""CRLs: added; and fetched by the running service, which is asked to. Every function raises `StoreError`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import chain

import sqlalchemy as sa

from authz.directory import Store
from authz.directory.crls import StoredCrl, known_cas, list_crls, list_fetched_crls
from authz.directory.registrations import StoredRegistration, list_registrations
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


def add_crl(store: Store, crl: Crl, now: datetime, *, anyway: bool = False) -> AddedCrl:
    """Keep a CRL that a known CA signed, in place of the one it supersedes; an expired one only if `anyway`."""
    stored = store.add_crl(crl, now, anyway=anyway)
    with store.reading() as connection:
        listed, unmet = _listed(connection, crl), _unmet(connection, crl)
    return AddedCrl(stored, listed, crl.next_update is None or crl.next_update < now, unmet)


def remove_crl(store: Store, sha256: bytes) -> RemovedCrl:
    """Remove a CRL that was added."""
    removed = store.remove_crl(sha256)
    issuer = removed.crl.issuer
    with store.reading() as connection:
        left = sum(stored.crl.issuer == issuer for stored in list_crls(connection))
        left += sum(crl.issuer == issuer.text and crl.sha256 != sha256 for crl in list_fetched_crls(connection))
        return RemovedCrl(removed, _listed(connection, removed.crl), left)


def _listed(connection: sa.Connection, crl: Crl) -> list[StoredRegistration]:
    rows = list_registrations(connection)
    return [row for row in rows if crl.index.find(row.leaf.serial, row.leaf.issuer) is not None]


def _unmet(connection: sa.Connection, crl: Crl) -> str:
    """The names of the CRL's distribution point, if no certificate that is known names one of them."""
    known = chain((row.leaf for row in list_registrations(connection)), known_cas(connection)) if crl.names else ()
    return "" if not crl.names or any(_meets(certificate, crl) for certificate in known) else listed_names(crl.names)


def _meets(certificate: Certificate, crl: Crl) -> bool:
    """Whether a point of the certificate has one of the CRL's names."""
    try:
        points = [point for point in certificate.crl_points if crl.issuer in point.crl_issuers]
    except Refused:
        return False
    return any(not point.names.isdisjoint(crl.names) for point in points)


def request_fetch(store: Store, wanted: str | None, now: datetime) -> list[str]:
    """Have the running service fetch: from a location, for an issuer, or for None everything. Returns the locations."""
    return store.ask_crl_sources(wanted, now)
