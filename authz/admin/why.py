"""Why a user, or one request, is refused: what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Final

from sqlalchemy import Connection, bindparam, select

from authz.decision import Decision, Deny
from authz.directory.decision_rows import Filter, list_decisions
from authz.directory.last_seen_rows import SeenLeaf, leaves_seen_of
from authz.directory.organizations import get_organization
from authz.directory.queries import organization_by_host
from authz.directory.registrations import StoredRegistration, get_registration, list_registrations
from authz.directory.schema import anchors, organizations, users
from authz.directory.users import get_user
from authz.errors import Refused
from authz.host import canonical_host
from authz.model import Organization, RecordedDecision, RegistrationKind, RegistrationState, User
from authz.pki import Certificate

REFUSALS: Final = 5
"""How many of the last refusals are shown."""

MAX_UNOWNED: Final = 500
"""Refusals of no organization that are looked through for those at its hosts: they are strangers', too."""


_OWNER = anchors.c.organization_id
_ANCHORS = select(anchors.c.sha256).where(_OWNER.is_(None) | (bindparam("owner") == _OWNER))


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal, as far as its gates got.

    `reason` is the reason's value, of this version or an earlier one, `at` the moment; `intermediates` are those that
    came with the `leaf`, `culprit` the certificate that was refused. `nearest` is the registration that nearly matched,
    `usable` another one of the user, by which the user would pass. `save` is the command, if there is one, that writes
    the certificates presented to `presented.pem`. `kind` is what a new registration may name in the organization.
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
    kind: RegistrationKind = RegistrationKind.CERTIFICATE


@dataclass(frozen=True, slots=True)
class UserStatus:
    """What the directory and the history know of one user.

    `refusals` are the user's last ones, the newest first, `anonymous` those of the organization's hosts before a user
    was known: of a token that is refused, the history does not keep whose it was. `anchors` are the SHA-256 of those
    that the organization trusts.
    """

    organization: Organization
    user: User
    registrations: list[StoredRegistration]
    seen: list[SeenLeaf]
    refusals: list[RecordedDecision]
    anonymous: list[RecordedDecision]
    anchors: frozenset[bytes]


def status_of(connection: Connection, organization: str, user: str) -> UserStatus:
    """All that is known. Raises `StoreError` without that organization or user."""
    member, owner = get_user(connection, organization, user), get_organization(connection, organization)
    anonymous = [
        *list_decisions(connection, Filter(organization, "", limit=REFUSALS, refused=True)),
        *_before_any_organization(connection, owner),
    ]
    return UserStatus(
        owner,
        member,
        list(list_registrations(connection, organization, user)),
        leaves_seen_of(connection, member.id),
        list(list_decisions(connection, Filter(organization, user, limit=REFUSALS, refused=True))),
        sorted(anonymous, key=attrgetter("at"), reverse=True)[:REFUSALS],
        frozenset(connection.execute(_ANCHORS, {"owner": owner.id}).scalars()),
    )


def _before_any_organization(connection: Connection, owner: Organization) -> list[RecordedDecision]:
    """The last refusals at the organization's hosts by a gate before the one that looks for the organization."""
    listed = list_decisions(connection, Filter(unowned=True, limit=MAX_UNOWNED, refused=True))
    return [record for record in listed if _host_of(record) in owner.hosts][:REFUSALS]


def _host_of(record: RecordedDecision) -> str:
    try:
        return canonical_host(record.host)
    except Refused:
        return ""


def organization_of(connection: Connection, record: RecordedDecision) -> str:
    """The name of the organization that a request was for, also where it was refused before that was looked at."""
    if record.organization:
        return record.organization
    row = connection.execute(organization_by_host(_host_of(record))).first()
    return "" if row is None else str(row.name)


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
    """The registrations with a certificate, other than the leaf, by which the user may pass: the last to expire first.

    Of a key or a name, that is the one with which it was registered.
    """
    dated = [
        (stored.leaf.not_after, stored)
        for stored in _active(status, now)
        if stored.leaf is not None
        and stored.leaf.not_after >= now
        and (leaf is None or stored.leaf.sha256 != leaf.sha256)
    ]
    return [stored for _, stored in sorted(dated, key=itemgetter(0), reverse=True)]


def renewable(status: UserStatus, now: datetime) -> StoredRegistration | None:
    """An active registration of a key or a name that counts: no certificate that it stands for need be stored."""
    for stored in _active(status, now):
        kind, anchor = stored.registration.kind, stored.registration.anchor_sha256
        counts = kind is not RegistrationKind.CERTIFICATE and kind in status.organization.binding_kinds
        if counts and (anchor is None or anchor in status.anchors):
            return stored
    return None


def _active(status: UserStatus, now: datetime) -> list[StoredRegistration]:
    active = RegistrationState.ACTIVE
    return [stored for stored in status.registrations if stored.registration.state(now) is active]


def passed_since(status: UserStatus) -> bool:
    """Whether a certificate of the user matched after the last refusal."""
    last = status.refusals[0].at if status.refusals else None
    return last is not None and any(leaf.matched and leaf.last_seen > last for leaf in status.seen)
