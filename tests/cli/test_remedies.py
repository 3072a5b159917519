"""The one thing to do about a refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.command_world import ALICE, CA, NOW, ROOT

from authz.admin.why import Denial
from authz.cli.remedies import remedy_of
from authz.pki import Certificate
from authz.reasons import Reason

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
