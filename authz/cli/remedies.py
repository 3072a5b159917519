"""What to do about a refusal: one sentence, and the command that does it where there is one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from shlex import quote
from typing import Final, NamedTuple

from authz.admin.why import Denial, UserStatus, passed_since, recorded_denial
from authz.model import RegistrationState
from authz.pki import Certificate
from authz.reasons import Reason


class Remedy(NamedTuple):
    """One thing to do; `command` is empty where it is not done in the directory."""

    sentence: str
    command: str = ""


def remedy_of(denial: Denial) -> Remedy:
    """The one thing to do; for a reason without a rule of its own, what the reason's sentence says."""
    sentences = {reason.value: reason.sentence for reason in Reason}
    rule = _RULES.get(denial.reason)
    if rule is None:
        return Remedy(sentences.get(denial.reason, f"{denial.reason} is a reason of another version of authz"))
    return rule(denial)


def _register(denial: Denial, file: str = "chain.pem") -> str:
    return f"authz cert add {quote(denial.organization)} {file} --user {quote(denial.user)}"


def _present(denial: Denial, otherwise: str, command: str) -> Remedy:
    """The certificate that would pass, if the user has one."""
    if denial.usable is None:
        return Remedy(otherwise, command)
    registration, leaf = denial.usable.registration, denial.usable.leaf
    subject = "" if leaf is None else f" ({leaf.subject.text}, until {leaf.not_after:%Y-%m-%d})"
    return Remedy(f"let the client of {denial.user} present what registration {registration.id} names{subject}")


def _required(denial: Denial) -> Remedy:
    return _present(denial, f"register a certificate of {denial.user}, who has none that counts", _register(denial))


def _not_registered(denial: Denial) -> Remedy:
    what = "the certificate" if denial.leaf is None else denial.leaf.subject.text
    save = f"{denial.save} && {_register(denial, 'presented.pem')}" if denial.save else _register(denial)
    return Remedy(f"register {what}, if it belongs to {denial.user}", save)


def _of_another(denial: Denial) -> Remedy:
    own = f"register a certificate of the user's own: the one presented {_whose(denial)}"
    remedy = _present(denial, own, _register(denial))
    if denial.usable is None:
        return remedy
    return Remedy(f"{remedy.sentence}: the one presented {_whose(denial)}")


def _whose(denial: Denial) -> str:
    if denial.nearest is None:
        return "is another user's"
    return f"is {denial.nearest.user}'s (registration {denial.nearest.registration.id})"


def _inactive(denial: Denial) -> Remedy:
    if denial.nearest is None:
        return Remedy(denial.detail or Reason.CERTIFICATE_REGISTRATION_INACTIVE.sentence)
    registration = denial.nearest.registration
    name, state = f"registration {registration.id}", registration.state(denial.at)
    trusted = "if the certificate is still trusted"
    if registration.retired_at is not None and registration.retired_at <= denial.at:
        ended = f"{name} was retired on {registration.retired_at:%Y-%m-%d %H:%M:%SZ}"
        return Remedy(f"{ended}: reinstate it, {trusted}", f"authz cert reinstate {registration.id}")
    if state is RegistrationState.RETIRED:
        ended = f"{name} ended on {registration.valid_until:%Y-%m-%d %H:%M:%SZ}"
        return Remedy(f"{ended}: let it last longer, {trusted}", f"authz cert set {registration.id} --until none")
    if state is RegistrationState.SCHEDULED:
        begins = f"{name} begins on {registration.valid_from:%Y-%m-%d %H:%M:%SZ}"
        return Remedy(f"{begins}: wait, or let it begin now", f"authz cert set {registration.id} --from none")
    return Remedy(f"register a certificate of another key: {denial.detail}", _register(denial))


def _expired(denial: Denial) -> Remedy:
    culprit = denial.culprit or denial.leaf
    if culprit is None:
        return Remedy(Reason.CERTIFICATE_EXPIRED.sentence)
    ended = f"{culprit.subject.text} expired on {culprit.not_after:%Y-%m-%d %H:%M:%SZ}"
    if denial.leaf is not None and culprit.sha256 != denial.leaf.sha256:
        add = f"authz intermediate add {quote(denial.organization)} ca.pem"
        return Remedy(f"add the successor of the CA: {ended}", add)
    return _present(denial, f"renew it, and register the new certificate: {ended}", _register(denial))


def _revoked(denial: Denial) -> Remedy:
    renew = f"let the CA issue a new certificate, and register it: {denial.detail}"
    return _present(denial, renew, _register(denial))


def _issuer_unknown(denial: Denial) -> Remedy:
    owner = quote(denial.organization)
    if denial.leaf is None:
        return Remedy(Reason.ISSUER_UNKNOWN.sentence)
    top = _top(denial.leaf, denial.intermediates)
    if top.self_issued:
        return Remedy(f"trust {top.subject.text}, if its certificates may be used", f"authz anchor add {owner} ca.pem")
    add = f"authz intermediate add {owner} ca.pem"
    return Remedy(f"let the client send the CA {top.issuer.text}, or add it if it is trusted", add)


def _top(leaf: Certificate, intermediates: tuple[Certificate, ...]) -> Certificate:
    """The last one up to which the names of what was presented lead."""
    top, left = leaf, list(intermediates)
    while not top.self_issued:
        issuer = next((ca for ca in left if ca.subject == top.issuer), None)
        if issuer is None:
            break
        left.remove(issuer)
        top = issuer
    return top


def _self_signed(denial: Denial) -> Remedy:
    return _present(
        denial,
        "let a CA issue a certificate, and register that: one that signed itself never counts",
        _register(denial),
    )


def _bound(denial: Denial) -> Remedy:
    digest = "" if denial.confirmation is None else f" ({denial.confirmation.hex()})"
    return Remedy(
        f"let the client present the certificate that its token is bound to{digest}; if the token was stolen, revoke it"
    )


def _host_unknown(denial: Denial) -> Remedy:
    command = f"authz org set ORGANIZATION --host {quote(denial.host)}"
    return Remedy(f"give the host {denial.host} to the organization that it belongs to", command)


def _of_organization(sentence: str, command: str) -> Callable[[Denial], Remedy]:
    """A rule whose sentence and command name the organization and the user alone."""

    def rule(denial: Denial) -> Remedy:
        names = {"organization": denial.organization, "user": denial.user}
        return Remedy(sentence.format(**names), command.format(**{key: quote(name) for key, name in names.items()}))

    return rule


_RULES: Final[dict[str, Callable[[Denial], Remedy]]] = {
    Reason.ORGANIZATION_UNKNOWN: _host_unknown,
    Reason.ORGANIZATION_INACTIVE: _of_organization("switch {organization} on", "authz org set {organization} --on"),
    Reason.USER_UNKNOWN: _of_organization(
        "add {user} to {organization}, if the name is right", "authz user add {organization} {user}"
    ),
    Reason.USER_INACTIVE: _of_organization("switch {user} on", "authz user set {organization} {user} --on"),
    Reason.TRUST_ANCHORS_MISSING: _of_organization(
        "add the root CA of the certificates of {organization}", "authz anchor add {organization} roots.pem"
    ),
    Reason.TOKEN_BOUND_TO_ANOTHER_CERTIFICATE: _bound,
    Reason.ISSUER_UNKNOWN: _issuer_unknown,
    Reason.CERTIFICATE_SELF_SIGNED: _self_signed,
    Reason.CERTIFICATE_EXPIRED: _expired,
    Reason.CERTIFICATE_REVOKED: _revoked,
    Reason.CERTIFICATE_REQUIRED: _required,
    Reason.CERTIFICATE_NOT_REGISTERED: _not_registered,
    Reason.CERTIFICATE_OF_ANOTHER_USER: _of_another,
    Reason.CERTIFICATE_REGISTRATION_INACTIVE: _inactive,
}


def verdict(status: UserStatus, denial: Denial | None, now: datetime) -> Remedy:
    """The one thing to do for a user, by what refuses the user's last refusal now."""
    owner, user = status.organization, status.user
    if not owner.active:
        return remedy_of(Denial(Reason.ORGANIZATION_INACTIVE, now, organization=owner.name, user=user.name))
    if not user.active:
        return remedy_of(Denial(Reason.USER_INACTIVE, now, organization=owner.name, user=user.name))
    if denial is not None and not passed_since(status):
        return remedy_of(denial)
    if status.anonymous:
        last = status.anonymous[0]
        remedy = remedy_of(recorded_denial(last))
        return Remedy(
            f"nothing refuses {user.name}, but a request without a user was ({last.reason}): {remedy.sentence}"
        )
    return Remedy(f"nothing: no gate refuses {user.name}, by what was recorded")
