"""Gate 5, the comparison: is this certificate this user's?

The rule is the model's (docs/model.md: certificate found and matching, else denied), narrowed by default
from the organization to the user. A registration names one certificate, by the SHA-256 of its DER; where the
organization allows it, also a key, or one subject alternative name below one anchor, so that a renewed certificate
needs no registration of its own.

What was taken away stays away: a certificate with a registration of its own that is not active is refused, whatever its
key or name matches. It is recognized by its tbsCertificate, for a signature value can be written in several ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.model import Binding, BindingScope, Organization, Registration, RegistrationKind, RegistrationState, User
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from authz.model import LeafKeys


def bind(
    organization: Organization, user: User, leaf: bytes | None, registrations: Iterable[Registration], at: datetime
) -> Binding:
    """The result under `required` for `user` with the leaf of SHA-256 `leaf` (32 bytes; None: no certificate) at `at`.

    Registrations of another organization, another leaf or another kind never count. One leaf may be registered several
    times: one active registration that counts for the user is enough.
    """
    if leaf is None:
        return Binding(refusal=Reason.CERTIFICATE_REQUIRED)
    own = [
        registration
        for registration in registrations
        if registration.kind is RegistrationKind.CERTIFICATE and registration.sha256 == leaf
    ]
    result = _result(organization, user, own, at)
    if result.registration is not None and RegistrationKind.CERTIFICATE not in organization.binding_kinds:
        why = f"{organization.name} has no registrations of certificates"
        return Binding(refusal=Reason.CERTIFICATE_NOT_REGISTERED, nearest=result.registration, detail=why)
    return result


def bind_renewed(
    organization: Organization, user: User, keys: LeafKeys, registrations: Iterable[Registration], at: datetime
) -> tuple[list[Registration], Binding]:
    """The active registrations for `user` that name the leaf's key or a name of it, and the result without them.

    `registrations` are those that have one of `keys`. The first that the caller finds to hold is the result: for a key,
    that it is not compromised; for a name, that a path ends in `Registration.anchor_sha256`. There are none for a
    certificate that was taken away.
    """
    mine = [registration for registration in registrations if registration.organization_id == organization.id]
    twins = [
        registration
        for registration in mine
        if registration.kind is RegistrationKind.CERTIFICATE and registration.tbs_sha256 == keys.tbs_sha256
    ]
    own = _result(organization, user, twins, at)
    if own.refusal is Reason.CERTIFICATE_REGISTRATION_INACTIVE:
        return [], own
    named = [
        registration
        for registration in mine
        if registration.kind in organization.binding_kinds and _names(registration, keys)
    ]
    active, others = list[Registration](), list[Registration]()
    # Thousands of users may share a key, so no registration is compared with another.
    for registration in named:
        counts = _counts(organization, user, registration) and registration.state(at) is RegistrationState.ACTIVE
        (active if counts else others).append(registration)
    return active, _result(organization, user, others, at)


def may_be_renewed(binding: Binding) -> bool:
    """Whether the leaf's key or name may count: it has no registration of its own that is or was the user's."""
    return binding.refusal not in {None, Reason.CERTIFICATE_REGISTRATION_INACTIVE}


def _names(registration: Registration, keys: LeafKeys) -> bool:
    if registration.kind is RegistrationKind.KEY:
        return registration.spki_sha256 == keys.spki_sha256
    return registration.kind is RegistrationKind.IDENTITY and registration.identity in keys.identities


def _counts(organization: Organization, user: User, registration: Registration) -> bool:
    return organization.binding_scope is BindingScope.ORGANIZATION or registration.user_id == user.id


def _result(organization: Organization, user: User, named: Iterable[Registration], at: datetime) -> Binding:
    """The first registration that counts and is active, else the refusal of the nearest."""
    refused = _NOT_REGISTERED
    for registration in named:
        if registration.organization_id != organization.id:
            continue
        if registration.user_id != user.id and not _counts(organization, user, registration):
            if refused is _NOT_REGISTERED:
                refused = Binding(refusal=Reason.CERTIFICATE_OF_ANOTHER_USER, nearest=registration)
        elif registration.state(at) is RegistrationState.ACTIVE:
            return Binding(registration=registration)
        else:
            refused = Binding(refusal=Reason.CERTIFICATE_REGISTRATION_INACTIVE, nearest=registration)
    return refused


_NOT_REGISTERED: Final = Binding(refusal=Reason.CERTIFICATE_NOT_REGISTERED)


def describe(organization: Organization, user: User, binding: Binding, at: datetime) -> str:
    """What a refusal is about, for the operator: the user, and the registration that nearly matched."""
    text = f"{user.name} of {organization.name}"
    nearest = binding.nearest
    if nearest is None:
        return text
    whose = "" if nearest.user_id == user.id else f" of the user with id {nearest.user_id}"
    text += f"; registration {nearest.id}{whose}, of kind {nearest.kind}, is {nearest.state(at)}"
    return f"{text}: {binding.detail}" if binding.detail else text
