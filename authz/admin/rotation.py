"""Renewed certificates: the new one is registered, and the one before it ends after an overlap, in one change."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from authz.admin.documents import Kind, Wanted, registration_content, stored_leaf
from authz.admin.plan import Action, Step
from authz.admin.registrations import split_leaf
from authz.directory.limits import check_registration
from authz.directory.registrations import StoredRegistration, list_registrations
from authz.directory.users import require_user
from authz.errors import AdvisedError, ConfigError
from authz.model import RegistrationKind, RegistrationState
from authz.pki import Certificate

CURRENT: Final = {RegistrationState.ACTIVE, RegistrationState.SCHEDULED}


@dataclass(frozen=True, slots=True)
class Renewal:
    """A user's new certificates, a leaf and the CA certificates beside it; `source` is for errors to name."""

    user: str
    certificates: Sequence[Certificate]
    source: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """What is to be done for renewals, and what is wrong with those for which nothing can be."""

    steps: list[Step]
    errors: list[AdvisedError]


def rotation(
    connection: sa.Connection,
    organization: str,
    renewals: Iterable[Renewal],
    end: datetime,
    now: datetime,
    *,
    label: str | None = None,
) -> Rotation:
    """The steps by which each new certificate takes the place of the user's present one, which is good until `end`.

    A user with several present ones needs a `label`, of the one that is renewed. A new certificate that is registered
    already is left as it is; one that was retired is an error, for what was taken away stays away.
    """
    rotated = Rotation([], [])
    for renewal in renewals:
        try:
            rotated.steps.extend(_steps(connection, organization, renewal, end, now, label))
        except AdvisedError as error:
            rotated.errors.append(error)
    return Rotation(sorted(rotated.steps, key=lambda step: step.action), rotated.errors)


def _steps(
    connection: sa.Connection, organization: str, renewal: Renewal, end: datetime, now: datetime, label: str | None
) -> list[Step]:
    leaf, chain = split_leaf(renewal.certificates, renewal.source)
    if leaf.not_after < now:
        message = f"the certificate in {renewal.source} expired on {leaf.not_after:%Y-%m-%d %H:%M:%SZ}"
        raise ConfigError(message, hint="renew it")
    check_registration(chain, label or "", None, None)
    require_user(connection, organization, renewal.user)
    listed = list_registrations(connection, organization, renewal.user)
    # A key and a name need no rotation.
    every = [stored for stored in listed if stored.registration.kind is RegistrationKind.CERTIFICATE]
    own = [stored for stored in every if stored.registration.sha256 == leaf.sha256]
    former = _former([stored for stored in every if stored not in own], now, renewal, label)
    steps = [] if _is_current(own, now, renewal) else [_added(organization, renewal, leaf, chain, label, former)]
    return steps + [_ended(stored, end) for stored in former if _ends_later(stored, end)]


def _former(
    others: list[StoredRegistration], now: datetime, renewal: Renewal, label: str | None
) -> list[StoredRegistration]:
    """The registration that is renewed; none for a user without one. Raises `ConfigError` if there are several.

    One whose retirement is set already was renewed before.
    """
    current = [
        stored
        for stored in others
        if stored.registration.state(now) in CURRENT and stored.registration.retired_at is None
    ]
    if label is not None:
        return [stored for stored in current if stored.registration.label == label]
    if len(current) > 1:
        labels = ", ".join(sorted({stored.registration.label or "no label" for stored in current}))
        message = f"{renewal.user} has {len(current)} certificates ({labels}): which one does {renewal.source} renew?"
        raise ConfigError(message, hint="say it by the label of that one")
    return current


def _is_current(own: list[StoredRegistration], now: datetime, renewal: Renewal) -> bool:
    """Whether the new certificate is registered. Raises `ConfigError` if it was, and has ended."""
    if any(stored.registration.state(now) in CURRENT for stored in own):
        return True
    if own:
        message = f"the certificate in {renewal.source} was registered for {renewal.user}, and has ended"
        raise ConfigError(message, hint="have its CA issue another one, with another key")
    return False


def _ends_later(stored: StoredRegistration, end: datetime) -> bool:
    registration = stored.registration
    return all(moment is None or moment > end for moment in (registration.valid_until, registration.retired_at))


def _added(
    organization: str,
    renewal: Renewal,
    leaf: Certificate,
    chain: Sequence[Certificate],
    label: str | None,
    former: Sequence[StoredRegistration],
) -> Step:
    named = label if label is not None else former[0].registration.label if former else ""
    ders = b"".join(ca.der for ca in chain)
    content = registration_content(renewal.user, named, (None, None, None), ders)
    stored = stored_leaf(leaf, ders)
    wanted = Wanted(Kind.CERTIFICATE, organization, renewal.user, leaf.sha256.hex(), content, stored)
    return Step(Action.ADD, wanted, None, None, None)


def _ended(stored: StoredRegistration, end: datetime) -> Step:
    registration, chain = stored.registration, b"".join(stored.registration.chain)
    period = registration.valid_from, registration.valid_until
    before = registration_content(stored.user, registration.label, (*period, registration.retired_at), chain)
    after = registration_content(stored.user, registration.label, (*period, end), chain)
    leaf = b"" if stored.leaf is None else stored.leaf.der
    name = Certificate.fingerprint(leaf).hex()
    wanted = Wanted(Kind.CERTIFICATE, stored.organization, stored.user, name, after, marshal.dumps((leaf, chain, None)))
    return Step(Action.CHANGE, wanted, before, registration.id, None)
