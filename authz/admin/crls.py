"""CRLs: added; and fetched by the running service, which is asked to. Every function raises `StoreError`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from authz.directory import Store
from authz.directory.crls import StoredCrl
from authz.directory.registrations import StoredRegistration
from authz.pki import Crl


@dataclass(frozen=True, slots=True)
class AddedCrl:
    """A CRL that was added, the registrations whose certificates it lists, and whether it is out of date already."""

    stored: StoredCrl
    listed: list[StoredRegistration]
    outdated: bool


def add_crl(store: Store, crl: Crl, now: datetime) -> AddedCrl:
    """Keep a CRL that a known CA signed, in place of the one it supersedes."""
    stored = store.add_crl(crl, now)
    every = store.registrations()
    listed = [row for row in every if crl.index.find(row.leaf.serial, row.leaf.issuer) is not None]
    return AddedCrl(stored, listed, crl.next_update is None or crl.next_update < now)


def request_fetch(store: Store, wanted: str | None, now: datetime) -> list[str]:
    """Have the running service fetch: from a location, for an issuer, or for None everything. Returns the locations."""
    return store.ask_crl_sources(wanted, now)
