"""The canary organization for probes of a proxy: added wholly or not at all, and removed without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from authz.admin.audited_store import AuditedStore
from authz.admin.described import described_organization
from authz.directory import Store, crls, organizations, registrations, users
from authz.directory.authorities import ANCHORS
from authz.directory.queries import find
from authz.directory.schema import organizations as organizations_table
from authz.model import Enforcement, Organization, TokenSettings
from authz.pki import Certificate, Crl

CANARY: Final = "doctor-canary"
"""The organization's name; no other organization may have it."""


@dataclass(frozen=True, slots=True)
class CanaryOrganization:
    """What is added: an anchor of its own, users with their enforcement, and whose each leaf is, `until` then."""

    host: str
    token: TokenSettings
    anchor: Certificate
    crl: Crl
    users: Mapping[str, Enforcement]
    leaves: Mapping[Certificate, str]
    until: datetime


def is_left_over(store: Store) -> bool:
    """Whether there is a canary. Raises `StoreError`."""
    with store.reading() as connection:
        return find(connection, organizations_table, name=CANARY) is not None


def add_canary(store: AuditedStore, canary: CanaryOrganization, now: datetime) -> None:
    """Add the canary if it does not exist. Raises `StoreError`, and has added nothing then."""
    with store.reading() as connection:
        known = [*crls.known_cas(connection), canary.anchor]
    with store.change() as change:
        organization = Organization(0, CANARY, (canary.host,), token=canary.token)
        added = organizations.add_organization(change.connection, organization)
        ANCHORS.add(change.connection, CANARY, [canary.anchor])
        for name, enforcement in canary.users.items():
            users.add_user(change.connection, CANARY, name, enforcement)
        crls.add_crl(change.connection, canary.crl, known, now)
        for leaf, user in canary.leaves.items():
            registrations.register(
                change.connection, CANARY, user, leaf, label="canary", valid_until=canary.until, now=now
            )
        holdings = organizations.holdings(change.connection, added.id)
        change.record("add", "organization", CANARY, after={**described_organization(added), **holdings})


def remove_canary(store: AuditedStore) -> None:
    """Remove the canary with all that is its own; a missing one is no error. Raises `StoreError`."""
    with store.change() as change:
        if find(change.connection, organizations_table, name=CANARY) is None:
            return
        former = organizations.get_organization(change.connection, CANARY)
        for anchor in ANCHORS.list(change.connection, CANARY):
            if anchor.organization == CANARY:
                crls.remove_crls(change.connection, anchor.certificate.plain_spki_sha256)
        organizations.remove_organization(change.connection, CANARY)
        change.record("remove", "organization", CANARY, before=described_organization(former))
