"""When registered certificates stop working if nothing is refreshed: by their own dates, their CAs', or a CRL's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from authz.directory import Store
from authz.directory.authorities import ANCHORS, INTERMEDIATES
from authz.directory.organizations import list_organizations
from authz.directory.registrations import StoredRegistration, list_registrations
from authz.errors import Refused
from authz.model import Organization, RegistrationKind
from authz.pki import (
    HARD_FAIL,
    Budget,
    Certificate,
    ModeOf,
    NotRevoked,
    TrustStore,
    VerifiedPath,
    service_policy,
    verify_path,
)
from authz.ports import CrlView

NEVER = datetime.max.replace(microsecond=0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
"""What certificates and CRLs count in: each is good through its last one."""


class Forecast(NamedTuple):
    """A registered certificate, the moment from which on it does not work, and why."""

    at: datetime
    organization: str
    user: str
    registration: int
    subject: str
    because: str


def forecasts(store: Store, crls: CrlView, now: datetime) -> Iterator[Forecast]:
    """One for each registration that has not ended by itself. Raises `StoreError`."""
    with store.reading() as connection:
        for organization in list_organizations(connection):
            trust = _trust(connection, organization)
            for stored in list_registrations(connection, organization.name):
                yield from _forecast(stored, organization, trust, crls, now)


def _forecast(
    stored: StoredRegistration, organization: Organization, trust: TrustStore | Refused, crls: CrlView, now: datetime
) -> Iterator[Forecast]:
    """That of one registration; nothing of one that has ended, or never ends: a key and a name outlive certificates."""
    leaf = stored.leaf if stored.registration.kind is RegistrationKind.CERTIFICATE else None
    end = _end_of_registration(stored)
    if end <= now or (leaf is None and end == NEVER):
        return
    at, because = end, "its registration ends"
    if leaf is not None:
        chain = [Certificate.parse(der) for der in stored.registration.chain]
        first = _end_of_path(leaf, chain, organization, trust, crls, now)
        at, because = first if first[0] <= end else (at, because)
    subject = (stored.registration.identity or "") if leaf is None else leaf.subject.text
    yield Forecast(at, stored.organization, stored.user, stored.registration.id, subject, because)


def _trust(connection: sa.Connection, organization: Organization) -> TrustStore | Refused:
    anchors, known = (
        [stored.certificate for stored in table.list(connection, organization.name)]
        for table in (ANCHORS, INTERMEDIATES)
    )
    try:
        return TrustStore(anchors, known, policy=service_policy(organization.path))
    except Refused as refusal:
        return refusal


def _end_of_registration(stored: StoredRegistration) -> datetime:
    ends = (stored.registration.valid_until, stored.registration.retired_at)
    return min((end for end in ends if end is not None), default=NEVER)


def _end_of_path(
    leaf: Certificate,
    chain: list[Certificate],
    organization: Organization,
    trust: TrustStore | Refused,
    crls: CrlView,
    now: datetime,
) -> tuple[datetime, str]:
    """The first moment after which no path verifies, and what ends then; now, if none does at all.

    When something of a path has ended, another may take its place, or it may not be needed: a delta CRL, say. So the
    path is verified again, at that moment. What can end is finite, and `at` moves on each time.
    """
    mode_of = crls.mode_of(organization)
    at, end, because = now, now, ""
    while end < NEVER:
        try:
            if isinstance(trust, Refused):
                raise trust
            path = verify_path(leaf, chain, trust, crls.crls(), at, trust.policy, Budget.service(), mode_of)
        except Refused as refusal:
            return end, because or str(refusal)
        end, because = min(limit for limit in _ends(path, mode_of) if limit[0] >= at)
        at = end + SECOND if end < NEVER else end
    return end, because


def _ends(path: VerifiedPath, mode_of: ModeOf | None) -> Iterator[tuple[datetime, str]]:
    for certificate in path.certificates:
        yield certificate.not_after, f"{certificate.subject.text} expires"
    for proof in path.revocation:
        yield from _ends_of_proof(proof, mode_of)


def _ends_of_proof(proof: NotRevoked, mode_of: ModeOf | None) -> Iterator[tuple[datetime, str]]:
    """When each CRL that was consulted ends, with the grace of its mode; the CRL is named by its issuer."""
    mode = HARD_FAIL if mode_of is None else mode_of(proof.certificate)
    if mode.soft:
        return
    for crl in proof.crls:
        if crl.next_update is not None:
            yield (
                min(crl.next_update, NEVER - mode.grace) + mode.grace,
                f"the CRL of {crl.issuer.text} expires",
            )
