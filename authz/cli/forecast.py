"""When registered certificates stop working if nothing is refreshed: by their own dates, their CAs', or a CRL's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from authz.crl_keeping import KeptCrls
from authz.directory.store import Store, StoredRegistration
from authz.errors import Refused
from authz.model import Organization
from authz.pki import SERVICE_POLICY, Budget, Certificate, Indulgence, Lenient, NotRevoked, TrustStore, verify_path

NEVER = datetime.max.replace(tzinfo=UTC)


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
    """The first moment at which something of the path that verifies now is over; now, if none does."""
    try:
        if isinstance(trust, Refused):
            raise trust
        lenient = crls.lenient(organization)
        chain = [Certificate.parse(der) for der in one.registration.chain]
        budget = Budget.service()
        path = verify_path(one.leaf, chain, trust, crls.crls(), now, SERVICE_POLICY, budget, lenient)
    except Refused as refusal:
        return now, str(refusal)
    ends = [(each.not_after, f"{each.subject.text} expires") for each in path.certificates]
    ends += [_end_of_proof(each, lenient) for each in path.revocation]
    return min(ends)


def _end_of_proof(proof: NotRevoked, lenient: Lenient | None) -> tuple[datetime, str]:
    """A certificate is proven good as long as each CRL that was asked is current; that of its issuer is named."""
    if proof.indulgence is Indulgence.SOFT_FAIL:
        return NEVER, ""
    leniency = None if lenient is None else lenient(proof.certificate)
    if leniency is not None and leniency.soft:
        return NEVER, ""
    grace = timedelta(0) if leniency is None else leniency.grace
    ends = [
        (min(one.next_update, NEVER - grace) + grace, one.issuer.text)
        for one in proof.crls
        if one.next_update is not None
    ]
    at, issuer = min(ends)
    return at, f"the CRL of {issuer} expires"
