"""The payload of a verified token: strict JSON, tied to its organization, decoded once."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import NOW

from authz.errors import Refused
from authz.identity import payload
from authz.identity.payload import PayloadHeader
from authz.identity.strict_json import read_object
from authz.model import CheckRequest, Identity, Organization, TokenSettings
from authz.reasons import Gate, Reason
from authz.view import IdentitySource

ACME = Organization(1, "acme", (), token=TokenSettings(issuer="i", audience="a"))
CLAIMS = {"iss": "i", "aud": "a", "sub": "alice", "exp": NOW.timestamp() + 60}
PAYLOAD = PayloadHeader("x-payload")
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


STATUS = PayloadHeader("x-payload", status_header="x-status")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Jwt is expired", Reason.TOKEN_EXPIRED),
        ("Jwt is missing", Reason.TOKEN_MISSING),
        ("Jwt not yet valid", Reason.TOKEN_NOT_YET_VALID),
        ("Jwt verification fails", Reason.TOKEN_SIGNATURE_INVALID),
        ("Jwt header [alg] is not supported", Reason.TOKEN_SIGNATURE_INVALID),
        ("Jwt header is an invalid JSON", Reason.TOKEN_MALFORMED),
        ("Audiences in Jwt are not allowed", Reason.IDENTITY_OF_ANOTHER_ORGANIZATION),
        ("Jwks doesn't have key to match kid or alg from Jwt", Reason.TOKEN_KEY_UNKNOWN),
        ("Jwks remote fetch is failed", Reason.TOKEN_KEYS_UNAVAILABLE),
        ("Found multiple Jwt tokens", Reason.IDENTITY_AMBIGUOUS),
        ("something new", Reason.TOKEN_NOT_VERIFIED),
    ],
)
def test_status_of_jwt_authn_says_why_there_is_no_payload(message: str, reason: Reason) -> None:
    """Each has the reason that a token verified here would have; beside a payload it says nothing."""
    status = (b"x-status", json.dumps({"code": 3, "message": message}).encode())
    assert outcome(STATUS, status) is reason
    assert outcome(STATUS, (b"x-payload", b""), status) is reason
    assert outcome(STATUS, status, (b"x-payload", encoded(json.dumps(CLAIMS)))) == Identity("alice")
    assert outcome(STATUS, status, (b"x_payload", b"x")) is AMBIGUOUS
    assert outcome(PAYLOAD, status) is MISSING


def test_status_of_the_provider_that_knows_the_issuer_counts() -> None:
    """The others refuse the token for its issuer, before and behind it; an object without a message is no status."""
    foreign, expired = {"message": "Jwt issuer is not configured"}, {"message": "Jwt is expired"}
    for statuses in ({"a": foreign, "b": expired}, {"b": expired, "a": foreign}, {"claims": {}, "b": expired, "n": 1}):
        assert outcome(STATUS, (b"x-status", json.dumps(statuses).encode())) is Reason.TOKEN_EXPIRED
    status = json.dumps({"a": foreign, "b": foreign}).encode()
    assert outcome(STATUS, (b"x-status", status)) is Reason.IDENTITY_OF_ANOTHER_ORGANIZATION


@pytest.mark.parametrize(
    "status", [b"", b"-", b"{}", b"[]", b'{"message":', b"\xff", b"[" * 9_000, b'{"message":"' + b"x" * 9_000 + b'"}']
)
def test_status_that_cannot_be_read_is_no_status(status: bytes) -> None:
    """It is for the operator: a missing payload refuses in any case."""
    assert outcome(STATUS, (b"x-status", status)) is MISSING


def test_payload_remembered_is_compared_with_the_time_of_each_check() -> None:
    """What it decodes to never changes; whether it is still good does."""
    source, check = PayloadHeader("x-payload"), CheckRequest("", "", ((b"x-payload", encoded(json.dumps(CLAIMS))),))
    assert source.identify(check, ACME, NOW) == source.identify(check, ACME, NOW) == Identity("alice")
    with pytest.raises(Refused) as caught:
        source.identify(check, ACME, NOW + timedelta(hours=1))
    assert caught.value.reason is Reason.TOKEN_EXPIRED
    with pytest.raises(Refused) as caught:
        source.identify(check, replace(ACME, token=TokenSettings(issuer="another", audience="a")), NOW)
    assert caught.value.reason is Reason.IDENTITY_OF_ANOTHER_ORGANIZATION


def test_payload_proves_no_type() -> None:
    """The token's header stayed at the proxy: an organization that demands a typ takes none, remembered or not."""
    source = PayloadHeader("x-payload")
    check = CheckRequest("", "", ((b"x-payload", encoded(json.dumps({**CLAIMS, "typ": "at+jwt"}))),))
    assert source.identify(check, ACME, NOW) == Identity("alice")
    with pytest.raises(Refused) as caught:
        source.identify(check, replace(ACME, token=replace(ACME.token, type="at+jwt")), NOW)
    assert caught.value.reason is Reason.TOKEN_TYPE_NOT_ALLOWED


def test_payload_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client sends one token with all its requests."""
    read: list[bytes] = []
    monkeypatch.setattr(payload, "read_object", lambda data: read.append(data) or read_object(data))
    source, check = PayloadHeader("x-payload"), CheckRequest("", "", ((b"x-payload", encoded(json.dumps(CLAIMS))),))
    for _ in range(3):
        source.identify(check, ACME, NOW)
    assert len(read) == 1


def test_payload_is_remembered_only_for_the_organization_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what was refused nor what is another tenant's takes room."""
    read: list[bytes] = []
    monkeypatch.setattr(payload, "read_object", lambda data: read.append(data) or read_object(data))
    source = PayloadHeader("x-payload")
    other = replace(ACME, id=2, token=TokenSettings(issuer="another", audience="a"))
    expired = {**CLAIMS, "exp": NOW.timestamp() - 3_600}
    for organization, claims in ((other, CLAIMS), (other, CLAIMS), (ACME, expired), (ACME, expired), (ACME, CLAIMS)):
        check = CheckRequest("", "", ((b"x-payload", encoded(json.dumps(claims))),))
        with contextlib.suppress(Refused):
            source.identify(check, organization, NOW)
    assert len(read) == 5


def flipped(drawn: random.Random, value: bytes) -> bytes:
    """One to four octets changed."""
    changed = bytearray(value)
    for _ in range(drawn.randint(1, 4)):
        changed[drawn.randrange(len(changed))] = drawn.randrange(256)
    return bytes(changed)


def respelled(drawn: random.Random, claims: dict[str, object]) -> bytes:
    """The JSON itself changed: a claim of another kind, one said twice, a stretch cut out or repeated."""
    name, odd = drawn.choice([*claims, "nbf", "iat"]), drawn.choice(ODD)
    text = json.dumps({**claims, name: odd})
    start, end = sorted(drawn.randrange(len(text)) for _ in range(2))
    twice = text[:-1] + f', "{name}": {json.dumps(drawn.choice(ODD))}}}'
    return drawn.choice([text, text, twice, text[:start] + text[end:], text[:end] + text[start:]]).encode()


ODD = (
    None, True, False, 0, -1, 1, 0.5, 1e308, 10**400, NOW.timestamp(), NOW.timestamp() - 31, NOW.timestamp() + 31,
    "", "a", "i", "alice", "root", "alice\n", "\u202ealice", ["a"], ["a", 1], [], {}, {"x5t#S256": "A" * 43},
    {"x5t#S256": "A" * 42}, {"jkt": "A" * 43}, [[[[]]]],
)  # fmt: skip


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object in which no name is said twice."""
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def accepted(claims: dict[str, object]) -> bool:
    """What RFC 7519 and the organization's settings say of claims, in other words than the product's."""
    audience, times = claims["aud"], {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    return (
        claims["iss"] == "i"
        and (audience == "a" or (isinstance(audience, list) and "a" in audience))
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in times.values())
        and NOW.timestamp() < times["exp"] + 30  # type: ignore[operator]
        and all(times.get(name, 0) - 30 <= NOW.timestamp() for name in ("nbf", "iat"))  # type: ignore[operator]
        and isinstance(claims["sub"], str)
        and claims["sub"].isprintable()
    )


@pytest.mark.fuzz
def test_payload_mutated_is_refused_or_what_it_says() -> None:
    """10,000 mutations in CI, of the octets and of the JSON: no error, and no identity that the claims do not hold."""
    drawn, kept = random.Random(1), 0
    claims: dict[str, object] = {**CLAIMS, "cnf": {"x5t#S256": "A" * 43}}
    good = encoded(json.dumps(claims))
    for number in range(10_000 * int(os.environ.get("FUZZ", "1"))):
        value = flipped(drawn, good) if number % 2 else encoded(respelled(drawn, claims))
        result = outcome(PAYLOAD, (b"x-payload", value))
        if isinstance(result, Reason):
            assert result.gate is Gate.USER
            continue
        kept += 1
        said = json.loads(base64.urlsafe_b64decode(value + b"=" * (-len(value) % 4)), object_pairs_hook=once)
        assert accepted(said), said
        assert result.user == said["sub"]
        assert (result.confirmation is None) == ("cnf" not in said)
    assert kept > 100
