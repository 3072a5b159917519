"""Why a user, or one request, is refused: what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from typing import Final

from sqlalchemy import Connection, select

from authz.decision import Decision, Deny
from authz.directory.decision_rows import Filter, list_decisions
from authz.directory.last_seen_rows import SeenLeaf, leaves_seen_of
from authz.directory.organizations import get_organization
from authz.directory.registrations import StoredRegistration, get_registration, list_registrations
from authz.directory.schema import organizations, users
from authz.directory.users import get_user
from authz.errors import Refused
from authz.model import Organization, RecordedDecision, RegistrationKind, RegistrationState, User
from authz.pki import Certificate

REFUSALS: Final = 5
"""How many of the last refusals are shown."""


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal, as far as its gates got.

    `reason` is the reason's value, of this version or an earlier one, `at` the moment; `intermediates` are those that
    came with the `leaf`, `culprit` the certificate that was refused. `nearest` is the registration that nearly matched,
    `usable` another one of the user, by whose certificate the user would pass. `save` is the command, if there is
    one, that writes the certificates presented to `presented.pem`.
    """

    reason: str
    at: datetime
    detail: str = ""
    organization: str = ""
    user: str = ""
    host: str = ""
    confirmation: bytes | None = None
    leaf: Certificate | None = None
    intermediates: tuple[Certificate, ...] = ()
    culprit: Certificate | None = None
    nearest: StoredRegistration | None = None
    usable: StoredRegistration | None = None
    save: str = ""


@dataclass(frozen=True, slots=True)
class UserStatus:
    """What the directory and the history know of one user.

    `refusals` are the user's last ones, the newest first, `anonymous` those of the organization before a user was
    known: of a token that is refused, the history does not keep whose it was.
    """

    organization: Organization
    user: User
    registrations: list[StoredRegistration]
    seen: list[SeenLeaf]
    refusals: list[RecordedDecision]
    anonymous: list[RecordedDecision]


def status_of(connection: Connection, organization: str, user: str) -> UserStatus:
    """All that is known. Raises `StoreError` without that organization or user."""
    member = get_user(connection, organization, user)
    return UserStatus(
        get_organization(connection, organization),
        member,
        list(list_registrations(connection, organization, user)),
        leaves_seen_of(connection, member.id),
        list(list_decisions(connection, Filter(organization, user, limit=REFUSALS, refused=True))),
        list(list_decisions(connection, Filter(organization, "", limit=REFUSALS, refused=True))),
    )


def is_in_directory(connection: Connection, organization: str, user: str) -> bool:
    """Whether there is a user of that name in an organization of that name."""
    query = select(users.c.id).join(organizations, organizations.c.id == users.c.organization_id)
    query = query.where(organizations.c.name == organization, users.c.name == user)
    return connection.execute(query).first() is not None


def presented_by(decision: Decision) -> tuple[bytes, ...]:
    """The certificates (DER) of a request, the leaf first; nothing if it has none that could be read."""
    presented = decision.evidence.presented
    return () if presented is None else (presented.leaf, *presented.intermediates)


def recorded_denial(record: RecordedDecision) -> Denial:
    """A refusal as the history has it."""
    names = {name: getattr(record, name) for name in ("reason", "detail", "organization", "user", "host")}
    return Denial(**names, confirmation=record.confirmation, at=record.at)


def denial_now(connection: Connection, asked: Denial, decision: Decision, now: datetime) -> Denial | None:
    """What refuses a request now, whose names `asked` has: under `observe` what `required` would refuse, too.

    None if nothing does.
    """
    evidence, binding = decision.evidence, decision.evidence.binding
    if isinstance(decision, Deny):
        reason, detail = decision.reason, decision.detail
    elif binding is not None and binding.refusal is not None:
        reason, detail = binding.refusal, binding.detail
    else:
        return None
    presented, owner = evidence.presented, evidence.organization
    nearest = None if binding is None or binding.nearest is None else get_registration(connection, binding.nearest.id)
    return replace(
        asked,
        reason=reason.value,
        detail=detail,
        at=now,
        organization=asked.organization if owner is None else owner.name,
        leaf=evidence.leaf,
        intermediates=() if presented is None else tuple(_readable(presented.intermediates)),
        culprit=_culprit(decision),
        nearest=nearest,
    )


def _culprit(decision: Decision) -> Certificate | None:
    certificate = decision.certificate if isinstance(decision, Deny) else None
    return next(iter(_readable(() if certificate is None else (certificate,))), None)


def _readable(ders: tuple[bytes, ...]) -> list[Certificate]:
    certificates = []
    for der in ders:
        try:
            certificates.append(Certificate.parse(der))
        except Refused:
            continue
    return certificates


def candidates(status: UserStatus, leaf: Certificate | None, now: datetime) -> list[StoredRegistration]:
    """The registered certificates, other than the leaf, by which the user may pass: the last to expire first."""
    dated = [
        (stored.leaf.not_after, stored)
        for stored in status.registrations
        if stored.registration.kind is RegistrationKind.CERTIFICATE
        and stored.registration.state(now) is RegistrationState.ACTIVE
        and stored.leaf is not None
        and stored.leaf.not_after >= now
        and (leaf is None or stored.leaf.sha256 != leaf.sha256)
    ]
    return [stored for _, stored in sorted(dated, key=itemgetter(0), reverse=True)]


def passed_since(status: UserStatus) -> bool:
    """Whether a certificate of the user matched after the last refusal."""
    last = status.refusals[0].at if status.refusals else None
    return last is not None and any(leaf.matched and leaf.last_seen > last for leaf in status.seen)
