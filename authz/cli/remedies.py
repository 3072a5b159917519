"""What to do about a refusal: one sentence, and the command that does it where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from shlex import quote
from typing import Final, NamedTuple

from authz.admin.why import Denial, UserStatus, passed_since, recorded_denial
from authz.cli.advice import of_user
from authz.directory.registrations import StoredRegistration
from authz.model import RegistrationKind, RegistrationState
from authz.pki import Certificate
from authz.reasons import Gate, Reason


class Remedy(NamedTuple):
    """One thing to do; `command` is empty where it is not done in the directory."""

    sentence: str
    command: str = ""


def remedy_of(denial: Denial) -> Remedy:
    """The one thing to do; for a reason without a rule of its own, what the reason's sentence says."""
    reason = next((reason for reason in Reason if reason == denial.reason), None)
    if reason is None:
        return Remedy(f"{denial.reason} is a reason of another version of authz")
    rule = _RULES.get(reason)
    if rule is not None:
        return rule(denial)
    if reason.gate is Gate.CERTIFICATE:
        return _present(denial, _stated(reason, f"{_subject(denial)}{denial.detail}"), "")
    return Remedy(_stated(reason, denial.detail))


def _stated(reason: Reason, detail: str) -> str:
    """The reason's sentence, and what was found."""
    return f"{reason.sentence.removesuffix('.')} ({detail})" if detail else reason.sentence


def _subject(denial: Denial) -> str:
    """The certificate that was refused, in front of what was found."""
    culprit = denial.culprit or denial.leaf
    return "" if culprit is None else f"{culprit.subject.text}, "


def _register(denial: Denial, file: str = "chain.pem") -> str:
    kind = "" if denial.kind is RegistrationKind.CERTIFICATE else f" --kind {denial.kind}"
    return f"authz cert add {quote(denial.organization)} {file} --user {quote(denial.user)}{kind}"


def _present(denial: Denial, otherwise: str, command: str) -> Remedy:
    """The certificate that would pass, if the user has one."""
    if denial.usable is None:
        return Remedy(otherwise, command)
    registration = denial.usable.registration
    named = f"what registration {registration.id} names{_named(denial.usable)}"
    return Remedy(f"let the client of {denial.user} present {named}")


def _named(stored: StoredRegistration) -> str:
    leaf = stored.leaf
    if stored.registration.identity is not None:
        return f" (a certificate with the name {stored.registration.identity})"
    if leaf is None:
        return ""
    if stored.registration.kind is RegistrationKind.KEY:
        return f" (a certificate of the key of {leaf.subject.text})"
    return f" ({leaf.subject.text}, until {leaf.not_after:%Y-%m-%d})"


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
        return _after(ended, denial, f"reinstate it, {trusted}", f"authz cert reinstate {registration.id}")
    if state is RegistrationState.RETIRED:
        ended = f"{name} ended on {registration.valid_until:%Y-%m-%d %H:%M:%SZ}"
        last = f"let it last longer, {trusted}"
        return _after(ended, denial, last, f"authz cert set {registration.id} --until none")
    if state is RegistrationState.SCHEDULED:
        begins = f"{name} begins on {registration.valid_from:%Y-%m-%d %H:%M:%SZ}"
        return Remedy(f"{begins}: wait, or let it begin now", f"authz cert set {registration.id} --from none")
    return Remedy(f"register a certificate of another key: {denial.detail}", _register(denial))


def _after(ended: str, denial: Denial, otherwise: str, command: str) -> Remedy:
    """What follows a registration that has ended: as a rule its successor, and the client still presents the former."""
    remedy = _present(denial, otherwise, command)
    return remedy._replace(sentence=f"{ended}: {remedy.sentence}")


def _expired(denial: Denial) -> Remedy:
    culprit = denial.culprit or denial.leaf
    if culprit is None:
        return Remedy(Reason.CERTIFICATE_EXPIRED.sentence)
    ended = f"{culprit.subject.text} expired on {culprit.not_after:%Y-%m-%d %H:%M:%SZ}"
    if denial.leaf is not None and culprit.sha256 != denial.leaf.sha256:
        add = f"authz {_table_of(culprit)} add {quote(denial.organization)} ca.pem"
        return Remedy(f"add the successor of the CA: {ended}", add)
    return _present(denial, f"renew it, and register the new certificate: {ended}", _register(denial))


def _table_of(ca: Certificate) -> str:
    return "anchor" if ca.self_issued else "intermediate"


def _not_yet_valid(denial: Denial) -> Remedy:
    wait = f"wait, or compare the clocks of CA and service: {_subject(denial)}{denial.detail}"
    return _present(denial, wait, "")


def _revoked(denial: Denial) -> Remedy:
    culprit, leaf, usable = denial.culprit, denial.leaf, denial.usable
    if usable is not None and leaf is not None and usable.registration.spki_sha256 == leaf.spki_sha256:
        denial = replace(denial, usable=None)
    whose = "the CA"
    if culprit is not None and leaf is not None and culprit.sha256 != leaf.sha256:
        whose = f"another CA than {culprit.subject.text}"
    renew = f"let {whose} issue a new certificate, and register it: {_subject(denial)}{denial.detail}"
    return _present(denial, renew, _register(denial))


def _revocation_unknown(denial: Denial) -> Remedy:
    culprit = denial.culprit
    if culprit is None:
        return Remedy(_stated(Reason.REVOCATION_UNKNOWN, denial.detail))
    get = f"get the current CRL of {culprit.issuer.text}, about {culprit.subject.text}: {denial.detail}"
    return Remedy(get, "authz crl add ca.crl")


def _signature_invalid(denial: Denial) -> Remedy:
    culprit = denial.culprit or denial.leaf
    if culprit is None:
        return Remedy(Reason.SIGNATURE_INVALID.sentence)
    other = f"{culprit.subject.text} was issued by another {culprit.issuer.text} than those known here, or was changed"
    add = f"authz {_table_of(culprit)} add {quote(denial.organization)} ca.pem"
    return _present(denial, f"add that CA, if it is trusted: {other}", add)


def _issuer_unknown(denial: Denial) -> Remedy:
    owner = quote(denial.organization)
    if denial.leaf is None:
        return Remedy(Reason.ISSUER_UNKNOWN.sentence)
    top = _top(denial.leaf, denial.intermediates)
    if top.self_issued:
        return Remedy(f"trust {top.subject.text}, if its certificates may be used", f"authz anchor add {owner} ca.pem")
    add = f"authz intermediate add {owner} ca.pem"
    otherwise = "or add it if it is trusted (with 'authz anchor add' if it is self-signed)"
    return Remedy(f"let the client send the CA {top.issuer.text}, {otherwise}", add)


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
    # Those given replace the ones it has.
    command = f"authz org set ORGANIZATION --host {quote(denial.host)} --host EACH_HOST_IT_HAS"
    return Remedy(f"give the host {denial.host} to the organization that it belongs to, beside those it has", command)


def _of_organization(sentence: str, command: str) -> Callable[[Denial], Remedy]:
    """A rule whose sentence and command name the organization alone."""

    def rule(denial: Denial) -> Remedy:
        name = denial.organization
        return Remedy(sentence.format(organization=name), command.format(organization=quote(name)))

    return rule


def _of_user(sentence: str, command: str, options: str = "") -> Callable[[Denial], Remedy]:
    """A rule whose sentence names the user, and whose command has the user for its arguments."""

    def rule(denial: Denial) -> Remedy:
        names = {"organization": denial.organization, "user": denial.user}
        return Remedy(sentence.format(**names), of_user(command, **names, options=options))

    return rule


_RULES: Final[dict[str, Callable[[Denial], Remedy]]] = {
    Reason.ORGANIZATION_UNKNOWN: _host_unknown,
    Reason.ORGANIZATION_INACTIVE: _of_organization("switch {organization} on", "authz org set {organization} --on"),
    Reason.USER_UNKNOWN: _of_user("add {user} to {organization}, if the name is right", "authz user add"),
    Reason.USER_INACTIVE: _of_user("switch {user} on", "authz user set", "--on"),
    Reason.TRUST_ANCHORS_MISSING: _of_organization(
        "add the root CA of the certificates of {organization}", "authz anchor add {organization} roots.pem"
    ),
    Reason.TOKEN_BOUND_TO_ANOTHER_CERTIFICATE: _bound,
    Reason.ISSUER_UNKNOWN: _issuer_unknown,
    Reason.CERTIFICATE_SELF_SIGNED: _self_signed,
    Reason.SIGNATURE_INVALID: _signature_invalid,
    Reason.CERTIFICATE_EXPIRED: _expired,
    Reason.CERTIFICATE_NOT_YET_VALID: _not_yet_valid,
    Reason.REVOCATION_UNKNOWN: _revocation_unknown,
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
    if not owner.hosts:
        command = f"authz org set {quote(owner.name)} --host HOST"
        return Remedy(
            f"give {owner.name} the host at which its clients ask: without one no request is its own", command
        )
    return _of_anonymous(status) if denial is None else _of_refused(status, denial)


def _of_refused(status: UserStatus, denial: Denial) -> Remedy:
    """What to do about the last refusal; another request may have passed, or been refused, since then."""
    remedy, last = remedy_of(denial), next(iter(status.anonymous), None)
    if passed_since(status):
        passed = f"{status.user.name} passed since, with a certificate; where a request is refused like the last one"
        return remedy._replace(sentence=f"{passed}: {remedy.sentence}")
    if last is None or not status.refusals or last.at <= status.refusals[0].at:
        return remedy
    return remedy._replace(sentence=f"{remedy.sentence}; later a request without a user was refused ({last.reason})")


def _of_anonymous(status: UserStatus) -> Remedy:
    name, last = status.user.name, next(iter(status.anonymous), None)
    if last is None:
        return Remedy(f"nothing: no gate refuses {name}, by what was recorded; an answer's decision id says more")
    remedy = remedy_of(recorded_denial(last))
    refused = f"a request without a user was, on {last.at:%Y-%m-%d %H:%M:%SZ} ({last.reason})"
    return Remedy(f"nothing refuses {name}, but {refused}: {remedy.sentence}")
