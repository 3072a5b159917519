"""The identity headers: exactly one, and in the form that is configured."""

from __future__ import annotations

import base64
import json
import random

import pytest
from pki_factory import NOW

from authz.errors import Refused
from authz.identity import PayloadHeader, UserNameHeader
from authz.model import CheckRequest, Identity, Organization, TokenSettings
from authz.reasons import Gate, Reason
from authz.view import IdentitySource

ACME = Organization(1, "acme", (), token=TokenSettings(issuer="i", audience="a"))
CLAIMS = {"iss": "i", "aud": "a", "sub": "alice", "exp": NOW.timestamp() + 60}
NAME, TIED, PAYLOAD = UserNameHeader("x-user"), UserNameHeader("x-user", "x-org"), PayloadHeader("x-payload")
MISSING, AMBIGUOUS, MALFORMED = Reason.IDENTITY_MISSING, Reason.IDENTITY_AMBIGUOUS, Reason.IDENTITY_MALFORMED


def encoded(text: str | bytes, *, padded: bool = False) -> bytes:
    """Base64url, as jwt_authn writes it."""
    value = base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text)
    return value if padded else value.rstrip(b"=")


def outcome(source: IdentitySource, *headers: tuple[bytes, bytes]) -> Identity | Reason:
    """The identity, or the reason of the refusal."""
    try:
        return source.identify(CheckRequest("", "", headers), ACME, NOW)
    except Refused as refused:
        return refused.reason


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"alice"], Identity("alice")),
        (["Zoë".encode()], Identity("Zoë")),
        ([], MISSING),
        ([b""], MISSING),
        ([b"alice", b"alice"], AMBIGUOUS),
        ([b"alice,bob"], AMBIGUOUS),
        ([b"\xff"], MALFORMED),
        ([b"a\tb"], MALFORMED),
        ([b" alice"], MALFORMED),
        ([b"a" * 256], MALFORMED),
    ],
)
def test_user_name_is_one_clean_value(values: list[bytes], expected: Identity | Reason) -> None:
    """Nothing is trimmed, folded or guessed."""
    assert outcome(NAME, *((b"x-user", value) for value in values)) == expected


@pytest.mark.parametrize("twin", [b"x_user"])
def test_user_name_with_an_underscore_twin_is_ambiguous(twin: bytes) -> None:
    """Beside the header or in its place."""
    assert outcome(NAME, (b"x-user", b"alice"), (twin, b"root")) is AMBIGUOUS
    assert outcome(NAME, (twin, b"root")) is AMBIGUOUS


@pytest.mark.parametrize(
    ("organization", "expected"),
    [
        ([b"acme"], Identity("alice")),
        ([b"Acme"], Reason.IDENTITY_OF_ANOTHER_ORGANIZATION),
        ([], MISSING),
        ([b"acme", b"acme"], AMBIGUOUS),
    ],
)
def test_user_name_is_tied_by_the_organization_header(organization: list[bytes], expected: Identity | Reason) -> None:
    """The organization's name, byte for byte."""
    assert outcome(TIED, (b"x-user", b"alice"), *((b"x-org", one) for one in organization)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (encoded(json.dumps(CLAIMS)), Identity("alice")),
        (encoded(json.dumps(CLAIMS), padded=True), Identity("alice")),
        (b"", MISSING),
        (encoded(json.dumps(CLAIMS)) + b"," + encoded(json.dumps(CLAIMS)), AMBIGUOUS),
        (encoded("[]"), MALFORMED),
        (encoded('"x"'), MALFORMED),
        (encoded("{"), MALFORMED),
        (encoded('{"sub":"a","sub":"b"}'), MALFORMED),
        (encoded('{"exp":NaN}'), MALFORMED),
        (encoded('{"exp":Infinity}'), MALFORMED),
        (encoded("[" * 12_000), MALFORMED),
        (encoded('{"a":' * 2_000), MALFORMED),
        (encoded(b"\xff\xfe"), MALFORMED),
        (b"not base64!", MALFORMED),
        (b"e30===", MALFORMED),
        (b"e31", MALFORMED),
        (b"+/+/", MALFORMED),
        (b"A" * 20_000, MALFORMED),
    ],
)
def test_payload_is_strict_json(value: bytes, expected: Identity | Reason) -> None:
    """Canonical base64url of one object, each name once, bounded in size and depth."""
    assert outcome(PAYLOAD, (b"x-payload", value)) == expected


def test_payload_twice_is_ambiguous() -> None:
    """Of two, neither."""
    value = (b"x-payload", encoded(json.dumps(CLAIMS)))
    assert outcome(PAYLOAD, value, value) is AMBIGUOUS


def test_payload_mutated_is_an_identity_or_refused() -> None:
    """2,000 mutations: a refusal of the user gate or the identity, and no other error."""
    drawn = random.Random(1)
    good = encoded(json.dumps({**CLAIMS, "cnf": {"x5t#S256": "A" * 43}}))
    for _ in range(2_000):
        value = bytearray(good)
        for _ in range(drawn.randint(1, 4)):
            value[drawn.randrange(len(value))] = drawn.randrange(256)
        result = outcome(PAYLOAD, (b"x-payload", bytes(value)))
        assert isinstance(result, Identity) or result.gate is Gate.USER
