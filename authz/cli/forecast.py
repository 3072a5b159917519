"""When registered certificates stop working if nothing is refreshed: by their own dates, their CAs', or a CRL's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from authz.app.crls import KeptCrls
from authz.directory.store import Store, StoredRegistration
from authz.errors import Refused
from authz.model import Organization
from authz.pki import (
    HARD_FAIL,
    SERVICE_POLICY,
    Budget,
    Certificate,
    ModeOf,
    NotRevoked,
    TrustStore,
    VerifiedPath,
    verify_path,
)

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


def forecasts(store: Store, crls: KeptCrls, now: datetime) -> Iterator[Forecast]:
    """One for each registration that has not ended by itself. Raises `StoreError`."""
    for organization in store.organizations():
        anchors = [one.certificate for one in store.anchors(organization.name)]
        known = [one.certificate for one in store.intermediates(organization.name)]
        try:
            trust: TrustStore | Refused = TrustStore(anchors, known)
        except Refused as refusal:
            trust = refusal
        for one in store.registrations(organization.name):
            end = _end_of_registration(one)
            if end > now:
                at, because = _end_of_path(one, organization, trust, crls, now)
                if end < at:
                    at, because = end, "its registration ends"
                subject = one.leaf.subject.text
                yield Forecast(at, one.organization, one.user, one.registration.id, subject, because)


def _end_of_registration(one: StoredRegistration) -> datetime:
    ends = (one.registration.valid_until, one.registration.retired_at)
    return min((end for end in ends if end is not None), default=NEVER)


def _end_of_path(
    one: StoredRegistration, organization: Organization, trust: TrustStore | Refused, crls: KeptCrls, now: datetime
) -> tuple[datetime, str]:
    """The first moment after which no path verifies, and what ends then; now, if none does at all.

    Whenever something of a path is over another may take its place, or it may not be needed: a delta CRL, say. So it
    is tried. What can end is finite, and `at` moves on each time.
    """
    mode_of = crls.mode_of(organization)
    chain = [Certificate.parse(der) for der in one.registration.chain]
    at, end, because = now, now, ""
    while end < NEVER:
        try:
            if isinstance(trust, Refused):
                raise trust
            path = verify_path(one.leaf, chain, trust, crls.crls(), at, SERVICE_POLICY, Budget.service(), mode_of)
        except Refused as refusal:
            return end, because or str(refusal)
        end, because = min(each for each in _ends(path, mode_of) if each[0] >= at)
        at = end + SECOND if end < NEVER else end
    return end, because


def _ends(path: VerifiedPath, mode_of: ModeOf | None) -> Iterator[tuple[datetime, str]]:
    for each in path.certificates:
        yield each.not_after, f"{each.subject.text} expires"
    for proof in path.revocation:
        yield from _ends_of_proof(proof, mode_of)


def _ends_of_proof(proof: NotRevoked, mode_of: ModeOf | None) -> Iterator[tuple[datetime, str]]:
    """When the CRLs that were asked are current no more; that of the certificate's issuer is named."""
    mode = HARD_FAIL if mode_of is None else mode_of(proof.certificate)
    if mode.soft:
        return
    for one in proof.crls:
        if one.next_update is not None:
            yield (
                min(one.next_update, NEVER - mode.grace) + mode.grace,
                f"the CRL of {one.issuer.text} expires",
            )
