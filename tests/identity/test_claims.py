"""Claims name a user of one organization, at one moment."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import NOW

from authz.errors import Refused
from authz.identity.claims import LEEWAY, ReadClaims, identity_from_claims
from authz.model import Organization, TokenSettings
from authz.reasons import Reason

AT = int(NOW.timestamp())
GOOD = {"iss": "https://id", "aud": "api", "sub": "alice", "exp": AT + 60}
BY_ISSUER = TokenSettings(issuer="https://id", audience="api")
BY_CLAIM = TokenSettings(organization_claim="org")
DIGEST = b"\x07" * 32
X5T = base64.urlsafe_b64encode(DIGEST).decode().rstrip("=")
FOREIGN, MALFORMED = Reason.IDENTITY_OF_ANOTHER_ORGANIZATION, Reason.IDENTITY_MALFORMED
UNSUPPORTED, TYPE = Reason.TOKEN_BINDING_UNSUPPORTED, Reason.TOKEN_TYPE_NOT_ALLOWED


def outcome(claims: dict[str, object], settings: TokenSettings = BY_ISSUER) -> Reason | str:
    """The user named, or the reason of the refusal."""
    try:
        return identity_from_claims(claims, Organization(1, "acme", (), token=settings), NOW).user
    except Refused as refused:
        return refused.reason


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "alice"),
        ({"aud": ["other", "api"]}, "alice"),
        ({"sub": "Alice"}, "Alice"),
        ({"iss": "https://evil"}, FOREIGN),
        ({"iss": None}, FOREIGN),
        ({"iss": ["https://id"]}, FOREIGN),
        ({"aud": "other"}, FOREIGN),
        ({"aud": []}, FOREIGN),
        ({"aud": ["api", 1]}, FOREIGN),
        ({"aud": {"api": 1}}, FOREIGN),
        ({"sub": ""}, MALFORMED),
        ({"sub": 1}, MALFORMED),
        ({"sub": None}, MALFORMED),
        ({"sub": " alice"}, MALFORMED),
        ({"sub": "a\x00"}, MALFORMED),
        ({"sub": "a\u202e"}, MALFORMED),
        ({"sub": "\ud800"}, MALFORMED),
        ({"sub": "a" * 256}, MALFORMED),
        ({"exp": AT - LEEWAY + 1}, "alice"),
        ({"exp": AT - LEEWAY}, Reason.TOKEN_EXPIRED),
        ({"exp": float(AT + 1)}, "alice"),
        ({"exp": True}, MALFORMED),
        ({"exp": str(AT + 60)}, MALFORMED),
        ({"exp": None}, MALFORMED),
        ({"exp": float("inf")}, MALFORMED),
        ({"exp": float("nan")}, MALFORMED),
        ({"exp": 10**400}, MALFORMED),
        ({"exp": -1}, MALFORMED),
        ({"nbf": None}, MALFORMED),
        ({"iat": None}, MALFORMED),
        ({"nbf": AT + LEEWAY}, "alice"),
        ({"nbf": AT + LEEWAY + 1}, Reason.TOKEN_NOT_YET_VALID),
        ({"iat": AT + LEEWAY + 1}, Reason.TOKEN_NOT_YET_VALID),
        ({"cnf": {"x5t#S256": X5T}}, "alice"),
        ({"cnf": {"x5t#S256": X5T + "="}}, UNSUPPORTED),
        ({"cnf": {"x5t#S256": X5T[:-1]}}, UNSUPPORTED),
        ({"cnf": {"x5t#S256": "é"}}, UNSUPPORTED),
        ({"cnf": {"x5t#S256": 1}}, UNSUPPORTED),
        ({"cnf": {"x5t#S256": X5T, "jkt": "x"}}, UNSUPPORTED),
        ({"cnf": {"jwk": {}}}, UNSUPPORTED),
        ({"cnf": {}}, UNSUPPORTED),
        ({"cnf": None}, UNSUPPORTED),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, TYPE),
        ({"events": {}}, TYPE),
        ({"events": None}, TYPE),
        ({"events": []}, TYPE),
        ({"events": ""}, TYPE),
        ({"nonce": "n", "at_hash": "h"}, "alice"),
    ],
)
def test_claims_changed_give_the_expected_outcome(change: dict[str, object], expected: Reason | str) -> None:
    """Issuer, audience, times, name and binding, one at a time."""
    assert outcome({**GOOD, **change}) == expected


def test_claims_without_expiry_are_refused() -> None:
    """A payload without exp would be good for ever."""
    assert outcome({key: value for key, value in GOOD.items() if key != "exp"}) is MALFORMED


@pytest.mark.parametrize(
    ("settings", "claims", "expected"),
    [
        (TokenSettings(), {}, FOREIGN),
        (TokenSettings(issuer="https://id"), {}, FOREIGN),
        (TokenSettings(audience="api"), {}, FOREIGN),
        (BY_CLAIM, {"org": "acme"}, "alice"),
        (BY_CLAIM, {"org": "Acme"}, FOREIGN),
        (BY_CLAIM, {"org": ["acme"]}, FOREIGN),
        (BY_CLAIM, {}, FOREIGN),
        (TokenSettings(issuer="https://other", organization_claim="org"), {"org": "acme"}, FOREIGN),
        (TokenSettings(issuer="https://id", organization_claim="org"), {"org": "acme"}, "alice"),
        (TokenSettings(issuer="https://id", audience="api", user_claim="email"), {"email": "a@b"}, "a@b"),
        *(
            (BY_CLAIM, {"org": "acme", claim: empty}, FOREIGN)
            for claim in ("iss", "aud")
            for empty in (None, "", [], {})
        ),
        (replace(BY_ISSUER, audience_claim="azp"), {"azp": "api", "aud": "other"}, "alice"),
        (replace(BY_ISSUER, audience_claim="azp"), {"azp": ["x", "api"]}, "alice"),
        (replace(BY_ISSUER, audience_claim="azp"), {"azp": "api", "aud": None}, FOREIGN),
        (replace(BY_ISSUER, audience_claim="azp"), {"azp": None}, FOREIGN),
        (replace(BY_ISSUER, audience_claim="azp"), {}, FOREIGN),
    ],
)
def test_tie_to_the_organization_must_hold_wholly(
    settings: TokenSettings, claims: dict[str, object], expected: Reason | str
) -> None:
    """Issuer with audience, or a claim that names it; nothing configured ties nothing."""
    assert outcome({**GOOD, **claims}, settings) == expected


@pytest.mark.parametrize(
    ("typ", "expected"),
    [
        ("at+jwt", "alice"),
        ("AT+JWT", "alice"),
        ("application/at+jwt", "alice"),
        ("Application/At+Jwt", "alice"),
        ("JWT", TYPE),
        ("logout+jwt", TYPE),
        ("at+jwt ", TYPE),
        ("application/application/at+jwt", TYPE),
        ("text/at+jwt", TYPE),
        ("at+jw\u1d40", TYPE),
        ("", TYPE),
        (None, TYPE),
    ],
)
def test_type_demanded_must_be_stated(typ: str | None, expected: Reason | str) -> None:
    """As media types are compared, and never by a claim of that name (RFC 9068 section 4)."""
    organization = Organization(1, "acme", (), token=replace(BY_ISSUER, type="at+jwt"))
    claims = {**GOOD, "typ": "at+jwt"}
    for identify in (ReadClaims(claims, typ).identity, lambda one, at: identity_from_claims(claims, one, at, typ)):
        try:
            found: Reason | str = identify(organization, NOW).user
        except Refused as refused:
            found = refused.reason
        assert found == expected


def test_confirmation_is_the_stated_digest() -> None:
    """What the token is bound to is handed on."""
    organization = Organization(1, "acme", (), token=BY_ISSUER)
    assert identity_from_claims({**GOOD, "cnf": {"x5t#S256": X5T}}, organization, NOW).confirmation == DIGEST


@pytest.mark.parametrize(
    ("claims", "seconds", "expected"),
    [
        ({}, 0, None),
        ({}, 400 * 86_400, Reason.TOKEN_EXPIRED),
        ({"nbf": NOW.timestamp() - 60}, -3_600, Reason.TOKEN_NOT_YET_VALID),
        ({"iat": NOW.timestamp() - 60}, -3_600, Reason.TOKEN_NOT_YET_VALID),
        ({"nbf": NOW.timestamp() - 60, "iat": NOW.timestamp() - 60}, 60, None),
    ],
)
def test_claims_read_once_say_the_same_at_every_time(
    claims: dict[str, object], seconds: int, expected: Reason | None
) -> None:
    """Their times are compared again, whatever was found before."""
    organization = Organization(1, "acme", (), token=TokenSettings(issuer="i", audience="a"))
    stated = {"iss": "i", "aud": "a", "sub": "alice", "exp": NOW.timestamp() + 86_400, **claims}
    read = ReadClaims(stated)
    assert read.identity(organization, NOW).user == "alice"
    later = NOW + timedelta(seconds=seconds)
    for identify in (read.identity, lambda one, at: identity_from_claims(stated, one, at)):
        try:
            found = identify(organization, later).user, None
        except Refused as refusal:
            found = None, refusal.reason
        assert found == (None if expected else "alice", expected)


def test_claims_read_once_are_tied_anew_to_an_organization_that_changed() -> None:
    """And to any other."""
    settings = TokenSettings(issuer="i", audience="a")
    read = ReadClaims({"iss": "i", "aud": "a", "sub": "alice", "name": "bob", "exp": NOW.timestamp() + 60})
    before = Organization(1, "acme", (), token=settings)
    assert read.identity(before, NOW).user == read.identity(before, NOW).user == "alice"
    assert read.identity(replace(before, token=replace(settings, user_claim="name")), NOW).user == "bob"
    with pytest.raises(Refused) as refused:
        read.identity(replace(before, token=replace(settings, type="at+jwt")), NOW)
    assert refused.value.reason is TYPE
    for other in (replace(settings, issuer="j"), replace(settings, audience="b"), TokenSettings()):
        with pytest.raises(Refused) as caught:
            read.identity(replace(before, token=other), NOW)
        assert caught.value.reason is Reason.IDENTITY_OF_ANOTHER_ORGANIZATION
    assert read.identity(before, NOW).user == "alice"
