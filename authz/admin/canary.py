"""The canary organization for probes of a proxy: added wholly or not at all, and removed without a trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from authz.directory import Store
from authz.directory.queries import find
from authz.directory.schema import organizations
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
        return find(connection, organizations, name=CANARY) is not None


def add_canary(store: Store, canary: CanaryOrganization, now: datetime) -> None:
    """Add the canary if it does not exist. Raises `StoreError`, and has added nothing then."""
    store.add_organization(Organization(0, CANARY, (canary.host,), token=canary.token))
    try:
        store.add_anchors(CANARY, [canary.anchor])
        for name, enforcement in canary.users.items():
            store.add_user(CANARY, name, enforcement)
        store.add_crl(canary.crl, now)
        for leaf, user in canary.leaves.items():
            store.register(CANARY, user, leaf, label="canary", valid_until=canary.until, now=now)
    except BaseException:
        remove_canary(store)
        raise


def remove_canary(store: Store) -> None:
    """Remove the canary with all that is its own; a missing one is no error. Raises `StoreError`."""
    if not is_left_over(store):
        return
    for anchor in store.anchors(CANARY):
        store.remove_crls(anchor.certificate.plain_spki_sha256)
    store.remove_organization(CANARY)
