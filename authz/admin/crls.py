"""CRLs: added; and fetched by the running service, which is asked to. Every function raises `StoreError`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from authz.directory import Store
from authz.directory.crls import StoredCrl
from authz.directory.registrations import StoredRegistration
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
    rows = store.registrations()
    known = [*(row.leaf for row in rows), *store.known_cas()]
    unmet = "" if not crl.names or any(_meets(certificate, crl) for certificate in known) else listed_names(crl.names)
    return AddedCrl(stored, _listed(crl, rows), crl.next_update is None or crl.next_update < now, unmet)


def remove_crl(store: Store, sha256: bytes) -> RemovedCrl:
    """Remove a CRL that was added."""
    crls = {stored.crl.sha256: stored for stored in store.crls()}
    store.remove_crl(sha256)
    removed = crls.pop(sha256)
    issuer = removed.crl.issuer
    left = sum(stored.crl.issuer == issuer for stored in crls.values())
    left += sum(fetched.issuer == issuer.text and fetched.sha256 != sha256 for fetched in store.fetched_crls())
    return RemovedCrl(removed, _listed(removed.crl, store.registrations()), left)


def _listed(crl: Crl, rows: list[StoredRegistration]) -> list[StoredRegistration]:
    return [row for row in rows if crl.index.find(row.leaf.serial, row.leaf.issuer) is not None]


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
