"""The bearer token: signature, algorithm, key, claims, and the organization it is for."""

from __future__ import annotations

import base64
import hmac
import json
import os
import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.certificates import NOW, new_key

from authz.errors import NotLoaded, Refused
from authz.identity import BearerToken, JwksCache
from authz.identity import token as module
from authz.model import CheckRequest, Identity, Organization, TokenSettings
from authz.pki.cache import SharedCache
from authz.pki.cache.shared import TENANT_BYTES
from authz.reasons import Gate, Reason

EC, RSA, ED, OTHER = new_key("p256"), new_key("rsa2048"), new_key("ed25519"), new_key("p256")
CLAIMS = {"iss": "i", "aud": "a", "sub": "alice", "exp": NOW + timedelta(minutes=5)}
WRITERS = {"ES256": ECAlgorithm, "RS256": RSAAlgorithm, "PS256": RSAAlgorithm, "EdDSA": OKPAlgorithm}


def jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    """A public key of a set."""
    kind = next(one for one in (ECAlgorithm, RSAAlgorithm, OKPAlgorithm) if _writes(one, key))
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid, **more}


def _writes(kind: Any, key: Any) -> bool:
    try:
        kind.to_jwk(key.public_key())
    except (jwt.InvalidKeyError, AttributeError):
        return False
    return True


SET = {"keys": [jwk(EC, "ec"), jwk(RSA, "rsa"), jwk(ED, "ed", alg="EdDSA"), jwk(OTHER, "ps", alg="ES256")]}


class Scene:
    """A source over a key set in a file, and an organization that uses it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "jwks.json"
        self.file.write_text(json.dumps(SET))
        self.seconds = 0.0
        self.warnings: list[str] = []
        self.keys = JwksCache(monotonic=lambda: self.seconds, warn=self.warnings.append)
        self.memory = SharedCache()
        self.source = BearerToken(self.keys, self.memory)
        settings = TokenSettings(issuer="i", audience="a", keys=str(self.file))
        self.acme = Organization(1, "acme", (), token=settings)

    async def ask(self, *tokens: str | bytes, organization: Organization | None = None) -> Identity | Reason:
        """The identity, or the reason of the refusal; loads what is missing, as the service does."""
        values = [one if isinstance(one, bytes) else b"Bearer " + one.encode() for one in tokens]
        check = CheckRequest("", "", tuple((b"authorization", value) for value in values))
        for _ in range(3):
            try:
                return self.source.identify(check, organization or self.acme, NOW)
            except NotLoaded as missing:
                await self.keys.load(missing.key)
            except Refused as refused:
                return refused.reason
        return pytest.fail("it is never loaded")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A scene."""
    return Scene(tmp_path)


def token(key: Any = EC, algorithm: str = "ES256", kid: str | None = "ec", **changes: Any) -> str:
    """A signed token, its claims or header changed (`header=`)."""
    header = {**({} if kid is None else {"kid": kid}), **changes.pop("header", {})}
    return jwt.encode({**CLAIMS, **changes}, key, algorithm=algorithm, headers=header)


ALICE = Identity("alice")
INVALID, MALFORMED = Reason.TOKEN_SIGNATURE_INVALID, Reason.TOKEN_MALFORMED


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(EC, "ES256", "ec"), (RSA, "RS256", "rsa"), (RSA, "PS512", "rsa"), (ED, "EdDSA", "ed")],
)
async def test_token_that_verifies_names_its_user(scene: Scene, key: Any, algorithm: str, kid: str) -> None:
    """By each kind of key."""
    assert await scene.ask(token(key, algorithm, kid)) == ALICE


def unsigned() -> str:
    """A token with `alg: none`."""
    return jwt.encode(CLAIMS, None, algorithm="none", headers={"kid": "ec"})


def confused() -> str:
    """The public key's PEM as an HMAC secret, the old trick."""
    secret = EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [{"alg": "HS256", "kid": "ec"}, {**CLAIMS, "exp": 9_999_999_999}]
    body = b".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts)
    mac = hmac.new(secret, body, "sha256").digest()
    return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], Reason.TOKEN_MISSING),
        ([b"Basic x"], Reason.TOKEN_MISSING),
        ([b""], Reason.TOKEN_MISSING),
        ([b"bearer " + GOOD.encode()], ALICE),
        ([GOOD, GOOD], Reason.IDENTITY_AMBIGUOUS),
        ([b"Bearer "], MALFORMED),
        ([b"Bearer  " + GOOD.encode()], MALFORMED),
        (["x"], MALFORMED),
        (["a.b"], MALFORMED),
        ([f"{GOOD}.x"], MALFORMED),
        ([f"{HEAD}=.{BODY}.{SIGNATURE}"], MALFORMED),
        (["A" * 20_000], MALFORMED),
        ([f"{HEAD}.{BODY}."], INVALID),
        ([f"{HEAD}.{BODY}.{token(OTHER).split('.')[2]}"], INVALID),
        ([f"{HEAD}.{token(sub='bob').split('.')[1]}.{SIGNATURE}"], INVALID),
        ([token(OTHER)], INVALID),
        ([token(RSA, "RS256", "ec")], INVALID),
        ([token(EC, "ES256", "ed")], INVALID),
        ([unsigned()], INVALID),
        ([confused()], INVALID),
        ([token(kid="nobody")], Reason.TOKEN_KEY_UNKNOWN),
        ([token(kid=None)], Reason.TOKEN_KEY_UNKNOWN),
        ([token(header={"typ": "at+jwt"})], ALICE),
        ([token(header={"typ": ["at+jwt"]})], MALFORMED),
        ([token(header={"typ": "logout+jwt"}, events={})], Reason.TOKEN_TYPE_NOT_ALLOWED),
        ([token(header={"crit": ["x"], "x": 1})], MALFORMED),
        ([token(iss="evil")], Reason.IDENTITY_OF_ANOTHER_ORGANIZATION),
        ([token(exp=NOW - timedelta(minutes=5))], Reason.TOKEN_EXPIRED),
        ([token(nbf=NOW + timedelta(minutes=5))], Reason.TOKEN_NOT_YET_VALID),
        ([token(cnf={"jkt": "x"})], Reason.TOKEN_BINDING_UNSUPPORTED),
    ],
)
async def test_token_with_one_thing_changed(
    scene: Scene, tokens: list[str | bytes], expected: Identity | Reason
) -> None:
    """Missing, repeated, malformed, forged, another's, out of its time."""
    assert await scene.ask(*tokens) == expected


async def test_token_remembered_is_refused_once_it_expires(scene: Scene) -> None:
    """The signature is remembered, the times are not."""
    short = token(exp=NOW + timedelta(seconds=1))
    assert await scene.ask(short) == ALICE
    check = CheckRequest("", "", ((b"authorization", b"Bearer " + short.encode()),))
    with pytest.raises(Refused) as caught:
        scene.source.identify(check, scene.acme, NOW + timedelta(minutes=1))
    assert caught.value.reason is Reason.TOKEN_EXPIRED


async def test_organization_may_demand_the_type_of_its_tokens(scene: Scene) -> None:
    """An ID token of the same issuer for the same audience passes no longer, remembered or not, nor one without typ."""
    strict = replace(scene.acme, token=replace(scene.acme.token, type="at+jwt"))
    access, identity, bare = (token(header={"typ": typ}, nonce="n") for typ in ("at+jwt", "JWT", None))
    assert "typ" not in jwt.get_unverified_header(bare)
    for _ in range(2):
        assert [await scene.ask(one) for one in (access, identity, bare)] == [ALICE] * 3
        found = [await scene.ask(one, organization=strict) for one in (access, identity, bare)]
        assert found == [ALICE, Reason.TOKEN_TYPE_NOT_ALLOWED, Reason.TOKEN_TYPE_NOT_ALLOWED]


async def test_token_remembered_is_nobodys_in_another_organization(scene: Scene, tmp_path: Path) -> None:
    """Another issuer's keys and claims decide there."""
    assert await scene.ask(GOOD) == ALICE
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"keys": [jwk(OTHER, "ec")]}))
    evil = Organization(2, "evil", (), token=TokenSettings(issuer="i", audience="a", keys=str(other)))
    assert await scene.ask(GOOD, organization=evil) is INVALID


async def test_key_withdrawn_ends_its_tokens(scene: Scene) -> None:
    """With the next reading of the set, remembered or not."""
    assert await scene.ask(GOOD) == ALICE
    scene.file.write_text(json.dumps({"keys": [jwk(OTHER, "ec")]}))
    scene.seconds += 301
    assert await scene.ask(GOOD) is INVALID


async def test_organization_without_a_key_set_refuses(scene: Scene) -> None:
    """There is nothing to verify with."""
    assert await scene.ask(GOOD, organization=Organization(3, "none", ())) is Reason.TOKEN_KEYS_UNAVAILABLE


@pytest.mark.parametrize("change", [{"issuer": None}, {"audience": None}])
async def test_token_needs_issuer_and_audience_beside_the_claim(scene: Scene, change: dict[str, None]) -> None:
    """The keys of an issuer sign tokens for everybody: what names the organization does not say for which service."""
    settings = replace(scene.acme.token, organization_claim="org")
    assert await scene.ask(token(org="acme"), organization=replace(scene.acme, token=settings)) == ALICE
    loose = replace(scene.acme, token=replace(settings, **change))
    assert await scene.ask(token(org="acme"), organization=loose) is Reason.IDENTITY_OF_ANOTHER_ORGANIZATION


async def test_memory_of_tokens_is_bounded_in_bytes(scene: Scene) -> None:
    """However many somebody holds."""
    scene.memory.max_bytes = TENANT_BYTES + 10_000
    for number in range(12):
        assert await scene.ask(token(jti=str(number))) == ALICE
        assert scene.memory.weight <= scene.memory.max_bytes
    assert 2 < len(scene.memory) < 12


@pytest.mark.parametrize(
    "changes",
    [{"iss": "evil"}, {"aud": "evil"}, {"exp": NOW - timedelta(minutes=5)}, {"sub": 1}, {"cnf": {"jkt": "x"}}],
)
async def test_token_refused_is_not_remembered(scene: Scene, changes: dict[str, Any]) -> None:
    """Its signature verifies, for the keys may be shared; it takes no room from what is the organization's own."""
    assert isinstance(await scene.ask(token(**changes)), Reason)
    assert len(scene.memory) == 0


async def test_token_remembered_is_verified_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """And once more when the keys were read again, whose version belongs to what is remembered."""
    verified: list[bytes] = []
    verify = module._verify
    monkeypatch.setattr(module, "_verify", lambda one, *rest: (verified.append(one), verify(one, *rest))[1])
    for seconds in (0, 0, 301):
        scene.seconds += seconds
        scene.file.write_text(json.dumps({**SET, "read": scene.seconds}))
        assert await scene.ask(GOOD) == ALICE
    assert len(verified) == 2


@pytest.mark.fuzz
async def test_token_mutated_is_refused_or_the_same(scene: Scene) -> None:
    """10,000 mutations in CI: a refusal of the user gate, or alice."""
    assert await scene.ask(GOOD) == ALICE
    drawn = random.Random(3)
    for _ in range(10_000 * int(os.environ.get("FUZZ", "1"))):
        value = bytearray(GOOD.encode())
        for _ in range(drawn.randint(1, 3)):
            value[drawn.randrange(len(value))] = drawn.choice(b"ABCabc012-_.=\x00\xff")
        result = await scene.ask(b"Bearer " + bytes(value))
        assert result == ALICE if bytes(value) == GOOD.encode() else isinstance(result, Reason)
        assert isinstance(result, Identity) or result.gate is Gate.USER
