"""Registrations of a key or of a name: what matches, and everything that must not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from support.certificates import NOW, Authority, Minted, new_key, san, tlv
from support.decision_world import (
    ACME,
    ALICE,
    CA,
    CRLS,
    EVIL,
    EVIL_CA,
    EVIL_ROOT,
    ROOT,
    MemoryView,
    decide,
    request,
    standard_view,
)

from authz import decision as decision_module
from authz.binding import bind_renewed
from authz.decision import MAX_CERTIFICATES_OF_A_KEY, Allow, Deny
from authz.model import BindingScope, Enforcement, LeafKeys, Organization, Registration, RegistrationKind, User
from authz.pki import Certificate
from authz.pki import compromised_by as found
from authz.pki.x509 import der
from authz.reasons import Reason

KINDS = tuple(RegistrationKind)
ALICES, OSCARS = 0, 2
NAME = "uri:spiffe://acme/alice"
NAMED = [(san(x509.UniformResourceIdentifier("spiffe://acme/alice")), False)]
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

KEY = new_key()
FIRST = CA.leaf("alice", key=KEY, extensions=NAMED)
RENEWED = CA.leaf("alice", key=KEY, extensions=NAMED)
REKEYED = CA.leaf("alice", extensions=NAMED)


def parsed(minted: Minted) -> Certificate:
    """As the validator reads it."""
    return Certificate.parse(minted.der)


def certificate(minted: Minted, number: int = 50, user: int = ALICES, **changes: object) -> Registration:
    """The certificate itself, registered."""
    leaf = parsed(minted)
    return replace(
        Registration(number, 1, user, leaf.sha256, tbs_sha256=leaf.tbs_sha256, spki_sha256=leaf.spki_sha256),
        der=leaf.der,
        **changes,
    )  # type: ignore[arg-type]


def key(minted: Minted, number: int = 60, user: int = ALICES, **changes: object) -> Registration:
    """Its key, registered with the certificate at hand."""
    return replace(certificate(minted, number, user), kind=RegistrationKind.KEY, **changes)  # type: ignore[arg-type]


def identity(anchor: Minted = ROOT, name: str = NAME, user: int = ALICES, **changes: object) -> Registration:
    """A name below an anchor, registered."""
    base = Registration(70, 1, user, None, kind=RegistrationKind.IDENTITY, identity=name, anchor_sha256=anchor.sha256)
    return replace(base, **changes)  # type: ignore[arg-type]


def view(*registrations: Registration, organization: Organization | None = None, **changes: object) -> MemoryView:
    """The world, with acme's kinds all allowed, and these registrations alone."""
    world = replace(standard_view(), **changes)  # type: ignore[arg-type]
    world.organizations[ACME.hosts[0]] = organization or replace(ACME, binding_kinds=KINDS)
    world.registered = list(registrations)
    return world


def decided(shown: Minted, *registrations: Registration, user: str = "alice", **changes: object) -> Reason | int:
    """The registration that matched, by its number, or the reason of the refusal."""
    decision = decide(request(shown, CA), user, view=view(*registrations, **changes))  # type: ignore[arg-type]
    if isinstance(decision, Deny):
        return decision.reason
    assert decision.binding is not None
    assert decision.binding.registration is not None
    return decision.binding.registration.id


KEYS = LeafKeys(parsed(RENEWED).tbs_sha256, parsed(RENEWED).spki_sha256, ())
RETIRED = {"retired_at": NOW}
SCHEDULED = {"valid_from": NOW + timedelta(seconds=1)}
PAST = {"valid_until": NOW}
INACTIVE = Reason.CERTIFICATE_REGISTRATION_INACTIVE
UNREGISTERED = Reason.CERTIFICATE_NOT_REGISTERED
ANOTHERS = Reason.CERTIFICATE_OF_ANOTHER_USER


def test_certificate_renewed_with_its_key_matches_the_key() -> None:
    """Whatever else is in it."""
    assert decided(RENEWED, key(FIRST)) == 60
    assert decided(CA.leaf("another name", key=KEY), key(FIRST)) == 60


def test_certificate_renewed_with_another_key_matches_the_name() -> None:
    """Below the anchor that its path ends in."""
    assert decided(REKEYED, identity()) == 70


def test_registration_that_does_not_hold_keeps_none_behind_it_from_holding() -> None:
    """In any order."""
    assert decided(RENEWED, identity(EVIL_ROOT), key(FIRST)) == 60
    assert decided(RENEWED, identity(EVIL_ROOT), identity(id=71)) == 71
    assert decided(RENEWED, key(FIRST), identity(EVIL_ROOT)) == 60


@pytest.mark.parametrize(
    ("registrations", "reason"),
    [
        ([certificate(FIRST)], UNREGISTERED),
        ([key(REKEYED)], UNREGISTERED),
        ([key(FIRST, organization_id=2)], UNREGISTERED),
        ([key(FIRST, user=OSCARS)], ANOTHERS),
        ([certificate(RENEWED, user=OSCARS)], ANOTHERS),
        ([certificate(RENEWED, user=OSCARS), key(FIRST, **RETIRED)], INACTIVE),
        ([key(FIRST, **RETIRED)], INACTIVE),
        ([key(FIRST, **SCHEDULED)], INACTIVE),
        ([key(FIRST, **PAST)], INACTIVE),
        ([identity(EVIL_ROOT)], UNREGISTERED),
        ([identity(CA)], UNREGISTERED),
        ([identity(anchor_sha256=None)], UNREGISTERED),
        ([identity(name="uri:spiffe://acme/bob")], UNREGISTERED),
        ([identity(name="uri:spiffe://acme/Alice")], UNREGISTERED),
        ([identity(name="uri:spiffe://acme/alice/")], UNREGISTERED),
        ([identity(name="dns:spiffe://acme/alice")], UNREGISTERED),
        ([identity(name="spiffe://acme/alice")], UNREGISTERED),
        ([identity(user=OSCARS)], ANOTHERS),
        ([identity(organization_id=2)], UNREGISTERED),
        ([identity(**RETIRED)], INACTIVE),
        ([identity(**SCHEDULED)], INACTIVE),
        ([identity(spki_sha256=parsed(FIRST).spki_sha256, name="uri:other")], UNREGISTERED),
    ],
)
def test_what_names_another_key_name_anchor_user_or_organization_does_not_match(
    registrations: list[Registration], reason: Reason
) -> None:
    """Nor one that is not active."""
    assert decided(RENEWED, *registrations) is reason


@pytest.mark.parametrize("allowed", [(), (RegistrationKind.CERTIFICATE,), (RegistrationKind.IDENTITY,)])
def test_key_counts_only_where_the_organization_allows_it(allowed: tuple[RegistrationKind, ...]) -> None:
    """By default it does not."""
    assert decided(RENEWED, key(FIRST), organization=replace(ACME, binding_kinds=allowed)) is UNREGISTERED


def test_certificate_counts_only_where_the_organization_allows_it() -> None:
    """Who wants keys alone gets keys alone."""
    keys_alone = replace(ACME, binding_kinds=(RegistrationKind.KEY,))
    assert decided(FIRST, certificate(FIRST), organization=keys_alone) is UNREGISTERED
    assert decided(FIRST, certificate(FIRST), key(FIRST), organization=keys_alone) == 60


@pytest.mark.parametrize("state", [RETIRED, SCHEDULED, PAST])
@pytest.mark.parametrize("other", [key(FIRST), identity()])
def test_certificate_that_was_taken_away_stays_away(state: dict[str, object], other: Registration) -> None:
    """Its key and its name admit its successors alone."""
    assert decided(FIRST, certificate(FIRST, **state), other) is INACTIVE
    assert decided(FIRST, certificate(FIRST, tbs_sha256=None, spki_sha256=None, **state), other) is INACTIVE
    assert decided(RENEWED, certificate(FIRST, **state), other) == other.id


def twin(minted: Minted) -> Minted:
    """The same certificate with the signature (r, n - s), which verifies as well: another DER of one tbsCertificate."""
    start, _, signature = der.row(minted.der, der.content(minted.der, 0), 2)
    r, s = decode_dss_signature(minted.certificate.signature)
    other = tlv(0x03, b"\x00" + encode_dss_signature(r, P256_ORDER - s))
    return Minted(x509.load_der_x509_certificate(tlv(0x30, minted.der[start:signature] + other)), minted.key)


def test_other_signature_value_brings_no_certificate_back() -> None:
    """The twin is another DER, but the same tbsCertificate."""
    other = twin(FIRST)
    assert other.sha256 != FIRST.sha256
    assert decided(other, key(FIRST)) == 60
    assert decided(other, certificate(FIRST, **RETIRED), key(FIRST)) is INACTIVE
    assert decided(other, certificate(FIRST, **RETIRED), identity()) is INACTIVE


def test_certificate_taken_from_another_user_is_nothing_to_this_one() -> None:
    """Where registrations are the user's own; where they are the organization's, it is taken from all."""
    taken = certificate(FIRST, user=OSCARS, **RETIRED)
    assert decided(FIRST, taken, key(FIRST)) == 60
    wide = replace(ACME, binding_kinds=KINDS, binding_scope=BindingScope.ORGANIZATION)
    assert decided(FIRST, taken, key(FIRST), organization=wide) is INACTIVE


def test_registration_of_any_user_counts_where_the_organization_says_so() -> None:
    """Of every kind."""
    wide = replace(ACME, binding_kinds=KINDS, binding_scope=BindingScope.ORGANIZATION)
    assert decided(RENEWED, key(FIRST, user=OSCARS), organization=wide) == 60
    assert decided(RENEWED, identity(user=OSCARS), organization=wide) == 70


@pytest.mark.parametrize("reason", [x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise])
def test_compromise_of_a_registered_certificate_ends_its_key(reason: x509.ReasonFlags) -> None:
    """A renewed certificate of the key, which no CRL lists, is of the same compromised key."""
    listed = (ROOT.crl(), CA.crl(FIRST, reason=reason))
    assert decided(RENEWED, key(FIRST), crl_ders=listed) is INACTIVE
    assert decided(RENEWED, key(FIRST, der=b""), certificate(FIRST, user=OSCARS), crl_ders=listed) is INACTIVE
    assert decided(RENEWED, certificate(RENEWED), key(FIRST), crl_ders=listed) == 50


def test_name_admits_no_certificate_of_a_compromised_key() -> None:
    """The key is what the client proves to have, and a thief has it too; one with another key comes in."""
    listed = (ROOT.crl(), CA.crl(FIRST, reason=x509.ReasonFlags.key_compromise))
    assert decided(RENEWED, key(FIRST), identity(), crl_ders=listed) is INACTIVE
    assert decided(RENEWED, identity(), certificate(FIRST, user=OSCARS), crl_ders=listed) is INACTIVE
    assert decided(REKEYED, identity(), key(FIRST), crl_ders=listed) == 70


def test_compromise_ends_the_key_when_the_certificate_has_expired() -> None:
    """And when the CRL that says so is overdue."""
    old = CA.leaf("alice", key=KEY, not_before=NOW - timedelta(days=20), not_after=NOW - timedelta(days=2))
    compromise = CA.crl(old, reason=x509.ReasonFlags.key_compromise)
    assert decided(RENEWED, key(old), crl_ders=(ROOT.crl(), compromise)) is INACTIVE


def test_compromise_that_a_ca_stored_with_the_certificate_states_ends_its_key() -> None:
    """A CA may be known by nothing else, and whether the client sends it must not decide."""
    former = ROOT.intermediate("Former CA")
    old = former.leaf("alice", key=KEY)
    lists = former.crl(old, reason=x509.ReasonFlags.key_compromise)
    stored = certificate(old, user=OSCARS, chain=(former.der,))
    assert decided(RENEWED, key(FIRST, der=b""), stored, crl_ders=(*CRLS, lists)) is INACTIVE
    assert decided(RENEWED, key(FIRST, der=b""), stored, crl_ders=(*CRLS, former.crl(old))) == 60
    liar = ROOT.intermediate("Former CA")
    lie = liar.crl(old, reason=x509.ReasonFlags.key_compromise)
    assert decided(RENEWED, key(FIRST, der=b""), stored, crl_ders=(*CRLS, lie)) == 60


def test_stored_ca_of_a_key_that_is_not_read_refuses_no_renewal() -> None:
    """Who leaves a CA of a small key for another renews the certificate."""
    former = ROOT.intermediate("Small CA", key=ec.generate_private_key(ec.SECP224R1()))
    stored = certificate(former.leaf("alice", key=KEY), user=OSCARS, chain=(former.der,))
    assert decided(RENEWED, key(FIRST), stored) == 60


def test_revocation_for_another_reason_ends_the_certificate_alone() -> None:
    """Superseded is what a renewal is."""
    listed = (ROOT.crl(), CA.crl(FIRST, reason=x509.ReasonFlags.superseded))
    assert decided(RENEWED, key(FIRST), crl_ders=listed) == 60
    assert decided(FIRST, key(FIRST), crl_ders=listed) is Reason.CERTIFICATE_REVOKED


def test_key_of_too_many_certificates_is_refused_and_not_half_checked() -> None:
    """Each is asked about in every check: a neighbour must not feel an organization that registers thousands."""
    others = [
        certificate(CA.leaf("alice", key=KEY), number, user=OSCARS) for number in range(MAX_CERTIFICATES_OF_A_KEY)
    ]
    assert decided(RENEWED, key(FIRST, der=b""), *others) == 60
    assert decided(RENEWED, key(FIRST), *others) is INACTIVE


def test_registrations_of_a_key_that_many_users_have_are_not_compared_with_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That takes a second for a thousand users, in which no neighbour's check is answered."""
    wide = replace(ACME, binding_kinds=KINDS, binding_scope=BindingScope.ORGANIZATION)
    every = [key(FIRST, number, user=number) for number in range(60, 90)]
    compared: list[object] = []
    monkeypatch.setattr(Registration, "__eq__", lambda one, other: compared.append(other) or one is other)
    assert bind_renewed(wide, User(0, 1, "alice", Enforcement.REQUIRED), KEYS, every, NOW)[0] == every
    assert len(compared) <= len(every)


def test_compromise_of_a_key_that_many_users_have_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their registrations count for all of them, and a neighbour must not feel how many there are."""
    asked: list[object] = []
    monkeypatch.setattr(decision_module, "compromised_by", lambda *given: asked.append(given[0]) or found(*given))
    wide = replace(ACME, binding_kinds=KINDS, binding_scope=BindingScope.ORGANIZATION)
    every = [key(FIRST, number, user=number) for number in range(60, 90)]
    listed = (ROOT.crl(), CA.crl(FIRST, reason=x509.ReasonFlags.key_compromise))
    assert decided(RENEWED, *every, organization=wide, crl_ders=listed) is INACTIVE
    assert len(asked) == 1


def test_key_whose_compromise_cannot_be_looked_up_is_refused_and_observed() -> None:
    """A stored certificate that is not read, or a used up budget: `required` refuses, `observe` lets it pass."""
    unread = key(FIRST, der=b"\x30\x00")
    assert decided(RENEWED, unread) is INACTIVE
    observed = decide(request(RENEWED, CA), "oscar", view=view(replace(unread, user_id=OSCARS)))
    assert isinstance(observed, Allow)
    assert observed.binding is not None
    assert observed.binding.refusal is INACTIVE
    assert "not known" in observed.binding.detail


def test_strangers_crl_of_the_same_issuers_name_ends_no_key() -> None:
    """A CRL belongs to a key: another CA of that name lists the same serial number."""
    serial = FIRST.certificate.serial_number
    lie = EVIL_CA.crl(serial, reason=x509.ReasonFlags.key_compromise, number=9)
    assert decided(RENEWED, key(FIRST), crl_ders=(*CRLS, lie)) == 60


def test_path_and_revocation_come_first() -> None:
    """No kind admits what does not verify."""
    stranger = EVIL_CA.leaf("alice", key=KEY, extensions=NAMED)
    decision = decide(request(stranger, EVIL_CA), view=view(key(FIRST), identity(), identity(EVIL_ROOT)))
    assert isinstance(decision, Deny)
    assert decision.reason in {Reason.SIGNATURE_INVALID, Reason.ISSUER_UNKNOWN}


OLD_ROOT, NEW_ROOT = Authority.root("Old root"), Authority.root("New root")
NEW_CA = NEW_ROOT.intermediate("New CA")
CROSS = OLD_ROOT.intermediate("New root", key=NEW_ROOT.key)
CROSSED = NEW_CA.leaf("alice", extensions=NAMED)
CROSS_CRLS = (OLD_ROOT.crl(), NEW_ROOT.crl(), NEW_CA.crl())


@pytest.mark.parametrize("bag", [(NEW_CA,), (NEW_CA, CROSS), (CROSS, NEW_CA)])
@pytest.mark.parametrize("named", [OLD_ROOT, NEW_ROOT])
def test_anchor_of_the_registration_is_tried_whatever_the_client_sent(bag: tuple[Minted, ...], named: Minted) -> None:
    """Two anchors above one leaf, by a cross certificate that the organization has stored."""
    world = view(identity(named), anchors={1: [OLD_ROOT, NEW_ROOT]}, intermediates={1: [CROSS]}, crl_ders=CROSS_CRLS)
    for _ in range(2):  # as a stranger, and known
        decision = decide(request(CROSSED, *bag), view=world)
        assert isinstance(decision, Allow), decision
        assert decision.evidence.path is not None
        assert decision.evidence.path.anchor.certificate.sha256 == named.sha256


def test_cross_certificate_that_is_revoked_leads_nowhere() -> None:
    """The path to the anchor of the registration is validated like any other."""
    crls = (OLD_ROOT.crl(CROSS), NEW_ROOT.crl(), NEW_CA.crl())
    world = view(identity(OLD_ROOT), anchors={1: [OLD_ROOT, NEW_ROOT]}, intermediates={1: [CROSS]}, crl_ders=crls)
    decision = decide(request(CROSSED, NEW_CA), view=world)
    assert isinstance(decision, Deny)
    assert decision.reason is UNREGISTERED
    assert OLD_ROOT.sha256.hex() in decision.detail


def test_refusal_says_whose_registration_nearly_matched_and_its_state() -> None:
    """With its number, its kind, and what it lacks."""
    retired = decide(request(RENEWED, CA), view=view(key(FIRST, user=OSCARS, **RETIRED)))
    assert isinstance(retired, Deny)
    assert retired.detail == "alice of acme; registration 60 of the user with id 2, of kind key, is retired"
    named = decide(request(RENEWED, CA), view=view(key(FIRST, user=OSCARS), organization=None))
    assert isinstance(named, Deny)
    assert "registration 60" in named.detail


def test_default_organization_asks_for_no_renewals() -> None:
    """The row that a renewal needs is not read where only certificates count."""
    world = standard_view()
    world.missing = {"renewals"}
    assert isinstance(decide(request(RENEWED, CA), view=world), Deny)
    assert isinstance(decide(request(ALICE, CA), view=world), Allow)
    assert EVIL.binding_kinds == (RegistrationKind.CERTIFICATE,)
