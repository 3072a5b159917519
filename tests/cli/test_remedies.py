"""The one thing to do about a refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.command_world import ALICE, CA, NOW, ROOT

from authz.admin.why import Denial
from authz.cli.remedies import remedy_of
from authz.directory.registrations import StoredRegistration
from authz.model import Registration, RegistrationKind
from authz.pki import Certificate
from authz.reasons import Gate, Reason

DENIAL = Denial("", NOW, organization="acme corp", user="al'ice", host="api.acme.test")
LEAF, ISSUER, TOP = (Certificate.parse(minted.der) for minted in (ALICE, CA, ROOT))


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    """Also where nothing but the reason is known; a name is an argument of its command as it stands."""
    remedy = remedy_of(replace(DENIAL, reason=reason.value))
    assert remedy.sentence
    assert "acme corp" not in remedy.command.replace("'acme corp'", "")


def test_reason_of_another_version_is_named() -> None:
    """The history outlives versions."""
    assert remedy_of(replace(DENIAL, reason="bad_mood")).sentence == "bad_mood is a reason of another version of authz"


@pytest.mark.parametrize(
    ("intermediates", "command"),
    [
        ((), "intermediate add"),
        ((ISSUER,), "intermediate add"),
        ((ISSUER, TOP), "anchor add"),
        ((TOP, ISSUER), "anchor add"),
    ],
    ids=["leaf", "issuer", "root", "another order"],
)
def test_missing_ca_is_the_one_behind_what_was_sent(intermediates: tuple[Certificate, ...], command: str) -> None:
    """A root that was sent can only be trusted."""
    denial = replace(DENIAL, reason=Reason.ISSUER_UNKNOWN.value, leaf=LEAF, intermediates=intermediates)
    assert command in remedy_of(denial).command


def test_expired_ca_is_no_matter_of_the_users() -> None:
    """Its successor is added; a leaf is renewed."""
    denial = replace(DENIAL, reason=Reason.CERTIFICATE_EXPIRED.value, leaf=LEAF)
    assert "intermediate add" in remedy_of(replace(denial, culprit=ISSUER)).command
    assert "cert add" in remedy_of(replace(denial, culprit=LEAF)).command


def test_expired_anchor_has_a_successor_among_the_anchors() -> None:
    """As an intermediate its successor would be trusted by no path."""
    denial = replace(DENIAL, reason=Reason.CERTIFICATE_EXPIRED.value, leaf=LEAF, culprit=TOP)
    assert "anchor add" in remedy_of(denial).command


def test_certificate_below_a_revoked_ca_comes_from_another_ca() -> None:
    """The CA that is revoked issues none that pass."""
    denial = replace(DENIAL, reason=Reason.CERTIFICATE_REVOKED.value, leaf=LEAF)
    assert "let the CA issue" in remedy_of(replace(denial, culprit=LEAF)).sentence
    assert "let another CA than CN=CA issue" in remedy_of(replace(denial, culprit=ISSUER)).sentence


@pytest.mark.parametrize(
    "reason", [reason for reason in Reason if reason.gate is Gate.CERTIFICATE or reason is Reason.REVOCATION_UNKNOWN]
)
def test_refused_certificate_is_named(reason: Reason) -> None:
    """Of several on a path one is refused; where no certificate is, the organization's anchors are."""
    remedy = remedy_of(replace(DENIAL, reason=reason.value, leaf=LEAF, culprit=LEAF, detail="this and that"))
    own = {Reason.TRUST_ANCHORS_MISSING, Reason.ISSUER_UNKNOWN, Reason.CERTIFICATE_SELF_SIGNED}
    assert "CN=alice" in remedy.sentence or reason in own


def test_what_was_found_stands_behind_the_sentence() -> None:
    """A reason that has no rule of its own names no value."""
    denial = replace(DENIAL, reason=Reason.HEADER_AMBIGUOUS.value, detail="x-cert arrived twice")
    assert remedy_of(denial).sentence.endswith("drop what the client sent (x-cert arrived twice)")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (RegistrationKind.CERTIFICATE, "(CN=alice, until "),
        (RegistrationKind.KEY, "(a certificate of the key of CN=alice)"),
        (RegistrationKind.IDENTITY, "(a certificate with the name dns:alice.example)"),
    ],
)
def test_registration_by_which_the_user_would_pass_is_named_by_what_it_names(
    kind: RegistrationKind, names: str
) -> None:
    """A renewed certificate of a key or a name is another than the one at hand."""
    identity = "dns:alice.example" if kind is RegistrationKind.IDENTITY else None
    usable = StoredRegistration("acme", "alice", Registration(7, 1, 1, None, kind=kind, identity=identity), LEAF)
    denial = replace(DENIAL, reason=Reason.CERTIFICATE_REQUIRED.value, usable=usable)
    assert f"what registration 7 names {names}" in remedy_of(denial).sentence
    bare = replace(denial, usable=replace(usable, leaf=None, registration=Registration(7, 1, 1, None)))
    assert remedy_of(bare).sentence.endswith("what registration 7 names")


def test_key_whose_certificate_is_revoked_is_not_offered() -> None:
    """A CRL may have ended it."""
    registered = Registration(7, 1, 1, None, kind=RegistrationKind.KEY, spki_sha256=LEAF.spki_sha256)
    usable = StoredRegistration("acme", "alice", registered, LEAF)
    denial = replace(DENIAL, reason=Reason.CERTIFICATE_REVOKED.value, leaf=LEAF, usable=usable)
    assert "issue a new certificate" in remedy_of(denial).sentence


def test_organization_without_registrations_of_certificates_registers_another_kind() -> None:
    """The command works as it stands."""
    denial = replace(DENIAL, reason=Reason.CERTIFICATE_REQUIRED.value, kind=RegistrationKind.KEY)
    assert remedy_of(denial).command.endswith("--kind key")


def test_certificate_of_another_ca_of_the_name_needs_that_ca() -> None:
    """A root among the anchors."""
    denial = replace(DENIAL, reason=Reason.SIGNATURE_INVALID.value, leaf=LEAF)
    assert "intermediate add" in remedy_of(denial).command
    assert "anchor add" in remedy_of(replace(denial, culprit=TOP)).command


@pytest.mark.parametrize(
    ("ended", "command"),
    [({"retired_at": NOW}, "authz cert reinstate 6"), ({"valid_until": NOW}, "authz cert set 6 --until none")],
    ids=["retired", "past"],
)
def test_successor_comes_before_a_registration_that_has_ended(ended: dict[str, Any], command: str) -> None:
    """A rotation ends the certificate before: what the client still presents is to be no good again."""
    former = StoredRegistration("acme", "alice", replace(Registration(6, 1, 1, None), **ended), LEAF)
    denial = replace(DENIAL, reason=Reason.CERTIFICATE_REGISTRATION_INACTIVE.value, at=NOW, nearest=former)
    assert remedy_of(denial).command == command
    usable = StoredRegistration("acme", "alice", Registration(7, 1, 1, None), LEAF)
    remedy = remedy_of(replace(denial, usable=usable))
    assert remedy.sentence.startswith("registration 6 ")
    assert "let the client of al'ice present what registration 7 names" in remedy.sentence
    assert remedy.command == ""
