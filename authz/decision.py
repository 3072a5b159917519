"""The decision: the gates, in order, for one request, one view and one moment.

    select the header -> organization -> user -> decode the header -> token binding
                      -> path and revocation -> binding of certificate and user

The header is only selected (present once, no other, not too long) before organization and user are
settled, and decoded after: an unidentified client must not make us decode certificates. Each gate refuses by
raising `Refused`; `evaluate` alone turns that into a `Deny`, and `Allow` is made in one place below.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.binding import bind, bind_renewed, describe, may_be_renewed
from authz.errors import Refused
from authz.headers import check_indicator, decode, select
from authz.host import canonical_host
from authz.model import DEFAULT_KINDS, Binding, CertificateForm, Enforcement, LeafKeys, RegistrationKind
from authz.pki import (
    SERVICE_POLICY,
    Budget,
    Certificate,
    CertificateSource,
    Exemption,
    RevocationMode,
    TrustStore,
    Validation,
    VerifiedPath,
    compromised_by,
    identities_of,
    verify_path,
)
from authz.reasons import Reason
from authz.text import MAX_REPORT, MAX_SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from authz.headers import Selected
    from authz.model import CheckRequest, Identity, Organization, PresentedChain, Registration, User
    from authz.pki import CrlStore
    from authz.view import Listener, TrustedProxy, View


MAX_CERTIFICATES_OF_A_KEY: Final = 32
"""Certificates of one key, registered in one organization, for each of which the CRLs are asked in one check."""


@dataclass(slots=True)
class Evidence:
    """What the gates found, as far as they got: for log, history and the command; no gate reads it.

    `decoded`: the certificate header and its elements, if it was decoded for this check and its path verified.
    `stored_chain`: the proxy passed on the leaf alone, and the chain stored with its registration completed it.
    """

    organization: Organization | None = None
    identity: Identity | None = None
    user: User | None = None
    presented: PresentedChain | None = None
    leaf: Certificate | None = None
    path: VerifiedPath | None = None
    stored_chain: bool = False
    binding: Binding | None = None
    decoded: tuple[Selected, tuple[PresentedChain, ...]] | None = None
    _completed_by: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def certificate(self) -> bytes | None:
        """SHA-256 of the presented leaf (32 bytes), or None."""
        return None if self.leaf is None else self.leaf.sha256

    @property
    def completed_by(self) -> str:
        """The origins of the CAs between leaf and anchor of the verified path.

        `presented` by the client, `stored` with the registration, `known` as the organization's
        intermediates; several joined by "+" in the path's order, empty if there are none.
        """
        if self._completed_by is None:
            presented = "stored" if self.stored_chain else "presented"
            between = () if self.path is None else self.path.between
            self._completed_by = "+".join(
                [presented if source is CertificateSource.PRESENTED else "known" for source in between]
            )
        return self._completed_by


class Allow(NamedTuple):
    """The request may pass: `organization`, `user` and, if one was presented, `certificate` (SHA-256) are proven.

    `binding` is set unless the user's enforcement is `off`; under `observe` its refusal is the reason for which
    `required` would have denied.
    """

    organization: Organization
    user: User
    certificate: bytes | None
    binding: Binding | None
    evidence: Evidence


class Deny(NamedTuple):
    """The request is refused for `reason`; `detail` is for the operator and may quote outside input."""

    reason: Reason
    detail: str
    evidence: Evidence
    certificate: bytes | None = None
    path: tuple[bytes, ...] = ()

    @property
    def detail_limit(self) -> int:
        """Characters of the detail that are shown: what a few CRLs failed is long, and needs a path that verified."""
        return MAX_REPORT if self.reason is Reason.REVOCATION_UNKNOWN else MAX_SHOWN


Decision = Allow | Deny


def evaluate(
    check: CheckRequest,
    listener: Listener,
    view: View,
    now: datetime,
    evidence: Evidence | None = None,
    take_turn: Callable[[Organization], None] | None = None,
) -> Decision:
    """Decide one request at `now`; raises `NotLoaded` when the view lacks a row, and nothing else on purpose.

    `evidence` is filled, also where a row is missing; a new one is made without it. `take_turn` is called before a
    header is decoded whose path was not verified before, and may raise `NotLoaded` as well.
    """
    evidence = evidence or Evidence()
    try:
        return _gates(check, listener, view, now, evidence, take_turn)
    except Refused as refusal:
        return Deny(refusal.reason, refusal.detail, evidence, refusal.certificate, refusal.path)


def _gates(
    check: CheckRequest,
    listener: Listener,
    view: View,
    now: datetime,
    evidence: Evidence,
    take_turn: Callable[[Organization], None] | None,
) -> Allow:
    selected = select(check, listener.header)
    organization = evidence.organization = _organization(check, listener, view)
    identity = evidence.identity = _identity(check, listener, organization, now)
    user = evidence.user = _user(organization, identity, view)
    cache = view.decode_cache(organization)
    cached = None if selected is None else cache.get(selected)
    if cached is None and selected is not None and take_turn is not None:
        take_turn(organization)
    # The elements, the nearest proxy's last.
    elements = cached or (() if selected is None else decode(selected, listener.header, cache))
    check_indicator(check, listener.header, elements[-1] if elements else None)
    presented = elements[0] if elements else None
    if listener.trusted_proxies or len(elements) > 1:
        presented = _presented(listener, elements, organization, view, now)
    evidence.presented = presented
    if identity.confirmation is not None:
        _token_binding(identity.confirmation, presented)
    verifier = None if presented is None else _path(presented, organization, view, now, evidence)
    if selected is not None and elements and cached is None:
        # Without a client's each element is a gateway's, and verified.
        evidence.decoded = selected, elements
    evidence.binding = _binding(organization, user, view, now, evidence, verifier)
    certificate = None if presented is None else presented.sha256
    return Allow(organization, user, certificate, evidence.binding, evidence)


def _organization(check: CheckRequest, listener: Listener, view: View) -> Organization:
    host = canonical_host(check.host)
    organization = view.organization(host)
    if organization is None:
        raise Refused(Reason.ORGANIZATION_UNKNOWN, f"no organization has the host {host}")
    if listener.organizations is not None and organization.name not in listener.organizations:
        raise Refused(Reason.ORGANIZATION_NOT_SERVED, f"{listener.name} does not serve {organization.name}")
    if not organization.active:
        raise Refused(Reason.ORGANIZATION_INACTIVE, f"{organization.name} is switched off")
    return organization


def _identity(check: CheckRequest, listener: Listener, organization: Organization, now: datetime) -> Identity:
    """All sources must name the same user; a confirmation that any of them states must hold."""
    if not listener.identity:
        raise Refused(Reason.IDENTITY_MISSING, f"{listener.name} has no identity source")
    first = listener.identity[0].identify(check, organization, now)
    if len(listener.identity) == 1:
        return first
    for other in [source.identify(check, organization, now) for source in listener.identity[1:]]:
        if other.user != first.user:
            raise Refused(Reason.IDENTITY_SOURCES_DISAGREE, "the listener's identity sources name different users")
        if other.confirmation is not None:
            if first.confirmation not in (None, other.confirmation):
                raise Refused(Reason.IDENTITY_SOURCES_DISAGREE, "the identity sources are bound to different leaves")
            first = other
    return first


def _user(organization: Organization, identity: Identity, view: View) -> User:
    user = view.user(organization, identity.user)
    # The name is compared again: a directory that folds case must not match another user.
    if user is None or user.organization_id != organization.id or user.name != identity.user:
        raise Refused(Reason.USER_UNKNOWN, f"{organization.name} has no user {identity.user}")
    if not user.active:
        raise Refused(Reason.USER_INACTIVE, f"{identity.user} is switched off")
    return user


def _presented(
    listener: Listener, elements: tuple[PresentedChain, ...], organization: Organization, view: View, now: datetime
) -> PresentedChain | None:
    """The client's chain: the only element, or the one left after those of all trusted proxies."""
    clients = len(elements) - len(listener.trusted_proxies)
    if clients not in {0, 1}:
        detail = f"{len(elements)} elements, {len(listener.trusted_proxies)} trusted proxies"
        if clients > 1 and listener.header.form is CertificateForm.XFCC:
            detail += "; a comma in URI or DNS makes another: take uri and dns out of set_current_client_cert_details"
        raise Refused(Reason.HEADER_ELEMENTS_UNEXPECTED, detail)
    # All CRLs: each applies to the key that signed it, and the gateways' are the operator's.
    crls = view.crls(organization)
    # The nearest proxy appends last, so elements are matched from the right.
    for proxy, element in zip(listener.trusted_proxies, reversed(elements), strict=False):
        _authenticate(proxy, element, crls, now)
    return elements[0] if clients else None


def _authenticate(proxy: TrustedProxy, element: PresentedChain, crls: CrlStore, now: datetime) -> None:
    """The gateway's own certificate must verify, have an allowed name, and not be revoked.

    A certificate listed by a CRL is refused, even if the CRL is out of date. Without a current CRL it is accepted,
    unless the proxy requires one: meshes often have short-lived certificates and no CRLs.
    """
    leaf = Certificate.parse(element.leaf)
    mode_of = None if proxy.crl_required else _soft_fail
    try:
        intermediates = [Certificate.parse(der) for der in element.intermediates]
        verify_path(leaf, intermediates, proxy.trust, crls, now, SERVICE_POLICY, Budget.service(), mode_of)
    except Refused as refusal:
        raise Refused(Reason.HOP_NOT_TRUSTED, str(refusal), certificate=leaf.der) from refusal
    if not proxy.names.intersection(leaf.san_names):
        raise Refused(
            Reason.HOP_NOT_TRUSTED, "the gateway's certificate has no name that is allowed", certificate=leaf.der
        )


def _soft_fail(_gateway: Certificate) -> RevocationMode:
    return _SOFT_FAIL


_SOFT_FAIL: Final = RevocationMode(soft=True)


def _token_binding(confirmation: bytes, presented: PresentedChain | None) -> None:
    """RFC 8705 section 3: a token bound to a certificate is not accepted without it."""
    if presented is None or presented.sha256 != confirmation:
        raise Refused(Reason.TOKEN_BOUND_TO_ANOTHER_CERTIFICATE, "cnf x5t#S256 is not the presented leaf's")


class _Verifier(NamedTuple):
    """Verifies the paths of one leaf in one check, all within one budget.

    `registrations` are the leaf's, if the path needed them.
    """

    leaf: Certificate
    intermediates: list[Certificate]
    organization: Organization
    view: View
    now: datetime
    budget: Budget
    registrations: Sequence[Registration] | None

    def path(self, trust: TrustStore) -> VerifiedPath:
        """The leaf's path to an anchor of `trust`. Raises `Refused`, and `NotLoaded` for CRLs that may be fetched."""
        leaf, intermediates, organization, view, now, budget, _ = self
        crls, mode_of = view.crls(organization), view.mode_of(organization)
        try:
            path = verify_path(leaf, intermediates, trust, crls, now, trust.policy, budget, mode_of)
        except Refused as refusal:
            if refusal.reason is Reason.REVOCATION_UNKNOWN:
                view.request_crls(organization, refusal.path)
            raise
        if path.exemption is Exemption.SOFT_FAIL:
            # Soft-fail applies only after the CRL was requested and could not be obtained.
            view.request_crls(organization, tuple(certificate.der for certificate in path.certificates))
        return path


def _path(
    presented: PresentedChain, organization: Organization, view: View, now: datetime, evidence: Evidence
) -> _Verifier:
    """Gate 4, for every user and enforcement: a bad certificate is never treated as no certificate."""
    trust = view.trust(organization)
    leaf = evidence.leaf = trust.parse(presented.leaf)
    others, registrations = presented.intermediates, None
    if not others:
        registrations = view.registrations(organization, leaf.sha256)
        others = _stored_chain(registrations)
        evidence.stored_chain = bool(others)
    intermediates = [*map(trust.parse, others)]
    verifier = _Verifier(leaf, intermediates, organization, view, now, Budget.service(), registrations)
    evidence.path = verifier.path(trust)
    return verifier


def _stored_chain(registrations: Sequence[Registration]) -> tuple[bytes, ...]:
    """The intermediates stored with the leaf, for proxies that forward the leaf alone; as untrusted as any."""
    return tuple(dict.fromkeys(itertools.chain.from_iterable(map(_chain, registrations))))


_chain: Final = attrgetter("chain")


def _binding(
    organization: Organization, user: User, view: View, now: datetime, evidence: Evidence, verifier: _Verifier | None
) -> Binding | None:
    if user.enforcement is Enforcement.OFF:
        return None
    leaf, registrations = None, None
    if verifier is not None:
        leaf, registrations = verifier.leaf.sha256, verifier.registrations
    if registrations is None:
        registrations = () if leaf is None else view.registrations(organization, leaf)
    binding = bind(organization, user, leaf, registrations, now)
    if verifier is not None and organization.binding_kinds != DEFAULT_KINDS and may_be_renewed(binding):
        renewed = _renewed(user, verifier, evidence)
        # Where neither its key nor a name is registered, what was found of the leaf itself says whose it is.
        if renewed.registration is not None or renewed.nearest is not None:
            binding = renewed
    if binding.refusal is not None:
        binding = binding._replace(detail=describe(organization, user, binding, now))
    evidence.binding = binding
    if binding.refusal is not None and user.enforcement is not Enforcement.OBSERVE:
        raise Refused(binding.refusal, binding.detail)
    return binding


def _renewed(user: User, verifier: _Verifier, evidence: Evidence) -> Binding:
    """The result for a leaf that is not registered itself: by its key, or by a name and the anchor of its path."""
    leaf, _, organization, view, now, *_ = verifier
    keys = LeafKeys(leaf.tbs_sha256, leaf.spki_sha256, identities_of(leaf))
    registrations = view.renewals(organization, keys)
    candidates, refused = bind_renewed(organization, user, keys, registrations, now)
    # Once for all candidates, for thousands of users may share a key; and no name makes a compromised one good.
    try:
        why = _compromise(verifier, evidence, registrations) if candidates else ""
    except Refused as refusal:
        # The binding's refusal, which `observe` lets pass, and not the path's, which nothing does.
        why = f"whether the key is compromised is not known: {refusal}"
    if why:
        return Binding(None, Reason.CERTIFICATE_REGISTRATION_INACTIVE, candidates[0], why)
    for registration in candidates:
        why = _other_anchor(verifier, evidence, registration) if registration.kind is RegistrationKind.IDENTITY else ""
        if not why:
            return Binding(registration)
        refused = Binding(None, Reason.CERTIFICATE_NOT_REGISTERED, registration, why)
    return refused


def _compromise(verifier: _Verifier, evidence: Evidence, registrations: Sequence[Registration]) -> str:
    """Why the leaf's key is not what it was: a CRL says so of another certificate of it that is registered here."""
    leaf, _, organization, view, now, budget, _ = verifier
    trust, path = view.trust(organization), evidence.path
    at = now.replace(microsecond=0)
    validation = Validation(at, trust.policy, budget, view.crls(organization), view.mode_of(organization))
    known: dict[bytes, tuple[bytes, ...]] = {}
    for registration in registrations:
        if registration.der and registration.spki_sha256 == leaf.spki_sha256:
            known[registration.der] = known.get(registration.der, ()) + registration.chain
    if len(known) > MAX_CERTIFICATES_OF_A_KEY:
        return f"{len(known)} certificates of the key are registered, more than are asked about in one check"
    for der, chain in known.items():
        stored = [trust.parse(ca) for ca in dict.fromkeys(chain)]
        crl = None if path is None else compromised_by(trust.parse(der), path, trust, validation, stored)
        if crl is not None:
            return f"the key is compromised, by the CRL of {crl.issuer.text} of {crl.this_update:%Y-%m-%d %H:%M:%SZ}"
    return ""


def _other_anchor(verifier: _Verifier, evidence: Evidence, registration: Registration) -> str:
    """Why no path of the leaf ends in the registration's anchor; empty if one does, which is the evidence from then on.

    Of several anchors that cross-signed certificates lead to, the client's bag must not choose.
    """
    wanted, path = registration.anchor_sha256 or b"", evidence.path
    if path is not None and path.anchor.certificate.sha256 == wanted:
        return ""
    try:
        evidence.path = verifier.path(verifier.view.trust(verifier.organization).only(wanted))
    except Refused as refusal:
        return f"no path to the anchor {wanted.hex()}: {refusal}"
    return ""
