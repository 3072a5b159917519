"""Gate 5, the comparison: is this certificate this user's?

The rule is the model's (docs/model.md: certificate found and matching, else denied), narrowed by default
from the organization to the user. Certificates are compared by the SHA-256 of the leaf's DER, never by name.
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
    """The result under `required` for `user` with the leaf of SHA-256 `leaf` (32 bytes; None: no certificate) at `at`.

    Registrations of another organization or another leaf never count. One leaf may be registered several
    times: one active registration that counts for the user is enough.
    """
    if leaf is None:
        return Binding(refusal=Reason.CERTIFICATE_REQUIRED)
    any_user = organization.binding_scope is BindingScope.ORGANIZATION
    refusal = Reason.CERTIFICATE_NOT_REGISTERED
    for registration in registrations:
        if registration.sha256 != leaf or registration.organization_id != organization.id:
            continue
        if not any_user and registration.user_id != user.id:
            refusal = (
                refusal if refusal is Reason.CERTIFICATE_REGISTRATION_INACTIVE else Reason.CERTIFICATE_OF_ANOTHER_USER
            )
        elif registration.state(at) is RegistrationState.ACTIVE:
            return Binding(registration=registration)
        else:
            refusal = Reason.CERTIFICATE_REGISTRATION_INACTIVE
    return Binding(refusal=refusal)
