"""Gate 5, the comparison: is this certificate this user's?

The rule is the model's own (certificate found and matching, else denied), narrowed by default from
the organization to the user. Identity is the SHA-256 of the leaf's DER, never a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.model import Binding, BindingScope, Organization, Registration, RegistrationState, User
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


def bind(
    organization: Organization, user: User, leaf: bytes | None, registrations: Iterable[Registration], at: datetime
) -> Binding:
    """What `required` would say of `user` with the leaf of SHA-256 `leaf` (32 bytes; None: no certificate) at `at`.

    Registrations of another organization or another leaf never count, whoever handed them in. One leaf
    may be registered several times: one active registration that counts for the user is enough.
    """
    if leaf is None:
        return Binding(refusal=Reason.CERTIFICATE_REQUIRED)
    anybodys = organization.binding_scope is BindingScope.ORGANIZATION
    why = Reason.CERTIFICATE_NOT_REGISTERED
    for registration in registrations:
        if registration.sha256 != leaf or registration.organization_id != organization.id:
            continue
        if not anybodys and registration.user_id != user.id:
            why = why if why is Reason.CERTIFICATE_REGISTRATION_INACTIVE else Reason.CERTIFICATE_OF_ANOTHER_USER
        elif registration.state(at) is RegistrationState.ACTIVE:
            return Binding(registration=registration)
        else:
            why = Reason.CERTIFICATE_REGISTRATION_INACTIVE
    return Binding(refusal=why)
