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
from support.tokens import signed

from authz.errors import NotLoaded, Refused
from authz.identity.keys import JwksCache
from authz.identity.token import BearerToken
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
        return await self.asked(check, organization or self.acme)

    async def asked(self, check: CheckRequest, organization: Organization) -> Identity | Reason:
        """The same for any request."""
        for _ in range(3):
            try:
                return self.source.identify(check, organization, NOW)
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


def handmade(key: Any = EC, **header: Any) -> str:
    """A token of exactly this header, signed with the key."""
    claims = {**CLAIMS, "exp": NOW.timestamp() + 300}
    return signed(key, "ES256" if key is EC else "EdDSA", header, claims)


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
        ([b"bEARER \t  " + GOOD.encode() + b" "], ALICE),
        ([b"Bearer " + GOOD.encode() + b" x"], MALFORMED),
        ([b"Bearer " + GOOD.encode() + b", Bearer " + GOOD.encode()], Reason.IDENTITY_AMBIGUOUS),
        ([GOOD.encode()], Reason.TOKEN_MISSING),
        ([b'Digest username="a", realm="b"'], Reason.TOKEN_MISSING),
        ([b"Basic " + GOOD.encode()], Reason.TOKEN_MISSING),
        ([b"Bearerx " + GOOD.encode()], Reason.TOKEN_MISSING),
        ([b"Bearer"], MALFORMED),
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
        ([token(kid=None)], ALICE),
        ([token(OTHER, kid=None)], ALICE),
        ([token(new_key("p256"), kid=None)], INVALID),
        ([token(new_key("p384"), "ES384", kid=None)], Reason.TOKEN_KEY_UNKNOWN),
        ([handmade(ED, alg="Ed25519", kid="ed")], ALICE),
        ([handmade(alg="Ed25519", kid="ed")], INVALID),
        ([handmade(alg="ES256", kid=None)], MALFORMED),
        ([handmade(alg="ES256", kid="")], MALFORMED),
        ([handmade(alg="ES256", kid="ec", typ=None)], MALFORMED),
        ([handmade(alg="ES256", kid="ec", typ="")], MALFORMED),
        ([handmade(alg="ES256", kid="ec", crit=None)], MALFORMED),
        ([handmade(alg="ES256", kid="ec", crit=[])], MALFORMED),
        ([handmade(alg=None, kid="ec")], INVALID),
        ([handmade(alg="ES256", kid="ec")], ALICE),
        ([token(aud=None)], Reason.IDENTITY_OF_ANOTHER_ORGANIZATION),
        ([token(header={"typ": "at+jwt"})], ALICE),
        ([token(header={"typ": ["at+jwt"]})], MALFORMED),
        ([token(header={"typ": "logout+jwt"}, events={})], Reason.TOKEN_TYPE_NOT_ALLOWED),
        ([token(header={"crit": ["x"], "x": 1})], MALFORMED),
        ([token(header={"x": [{}] * 999})], MALFORMED),
        ([token(header={"x": [[]] * 999})], MALFORMED),
        ([token(header={"x5c": ["A" * 1_600] * 5, **{f"x{number}": "" for number in range(20)}})], ALICE),
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


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(RSA, "RS256", "rsa"), (RSA, "PS512", "rsa"), (ED, "EdDSA", "ed")]
)
@pytest.mark.parametrize("size", [0, 1, 63, 65, 255, 257, 4_000])
async def test_signature_of_any_length_is_refused(scene: Scene, key: Any, algorithm: str, kid: str, size: int) -> None:
    """No error of the library comes out."""
    message = token(key, algorithm, kid).rpartition(".")[0]
    signature = base64.urlsafe_b64encode(b"\xff" * size).rstrip(b"=").decode()
    assert await scene.ask(f"{message}.{signature}") is INVALID


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


async def test_token_without_kid_is_tried_with_four_keys_and_no_more(scene: Scene) -> None:
    """What cannot have signed it was thrown out before."""
    others = [jwk(new_key("p256"), f"k{number}") for number in range(4)]
    unfit = [{**key, "use": "enc"} for key in others] + [jwk(RSA, "rsa"), jwk(ED, "ed")]
    for keys, expected in ((others[:3], ALICE), (others, Reason.TOKEN_KEY_AMBIGUOUS)):
        scene.file.write_text(json.dumps({"keys": [*unfit, *keys, jwk(EC, "ec")]}))
        scene.seconds += 301
        assert await scene.ask(token(kid=None)) == expected
        assert await scene.ask(token()) == ALICE


async def test_kid_that_stands_twice_has_both_keys(scene: Scene) -> None:
    """And a key without a kid may be that of any token whose kid no key has."""
    bare = {name: value for name, value in jwk(RSA, "").items() if name != "kid"}
    scene.file.write_text(
        json.dumps({"keys": [jwk(OTHER, "ec"), jwk(EC, "ec"), {**jwk(RSA, "ec"), "use": "enc"}, bare]})
    )
    assert [await scene.ask(token(key)) for key in (EC, OTHER)] == [ALICE, ALICE]
    assert await scene.ask(token(RSA, "RS256", "new")) == ALICE
    assert await scene.ask(token(RSA, "RS256", "ec")) is INVALID


@pytest.mark.parametrize("kid", [None, "new"])
async def test_token_that_no_key_verifies_reads_the_set_again_once_in_a_cool_down(
    scene: Scene, kid: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of a set without kids that is rotated is found; forged tokens cost one reading."""
    rotated = token(OTHER, kid=kid)
    bare = [{**jwk(key, ""), "kid": None} for key in (EC, OTHER)]
    scene.file.write_text(json.dumps({"keys": bare[:1]}))
    assert await scene.ask(rotated) is INVALID
    scene.file.write_text(json.dumps({"keys": bare[1:]}))
    assert [await scene.ask(rotated) for _ in range(5)] == [INVALID] * 5
    scene.seconds += 31
    assert await scene.ask(rotated) == ALICE
    loaded: list[object] = []
    monkeypatch.setattr(scene.keys, "load", loaded.append)
    forged = token(new_key("p256"), kid=kid)
    assert [await scene.ask(forged) for _ in range(50)] == [INVALID] * 50
    assert loaded == []


async def test_forged_token_that_names_its_key_makes_nothing_be_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of that name is there, and did not sign it; also after the cool-down."""
    assert await scene.ask(GOOD) == ALICE
    scene.seconds += 31
    monkeypatch.setattr(scene.keys, "load", pytest.fail)
    assert await scene.ask(token(new_key("p256"))) is INVALID


async def test_flood_of_new_tokens_is_refused_and_tokens_seen_before_are_not(scene: Scene) -> None:
    """Nor is another organization felt, or the key set read."""
    assert await scene.ask(GOOD) == ALICE
    scene.keys.budget._full_at[scene.acme.id] = 5.0
    assert await scene.ask(token(OTHER)) is Reason.OVERLOADED
    assert await scene.ask(token(jti="new")) is Reason.OVERLOADED
    assert await scene.ask(GOOD) == ALICE
    assert await scene.ask(token(jti="new"), organization=replace(scene.acme, id=2)) == ALICE
    scene.seconds = 1.0
    assert await scene.ask(token(jti="new")) == ALICE


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("x-token", GOOD)], ALICE),
        ([("x-token", f"bearer {GOOD}")], ALICE),
        ([("x-token", GOOD), ("authorization", "Basic x")], ALICE),
        ([("authorization", f"Bearer {GOOD}")], Reason.TOKEN_MISSING),
        ([("x-token", "")], Reason.TOKEN_MISSING),
        ([("x-token", GOOD), ("x-token", GOOD)], Reason.IDENTITY_AMBIGUOUS),
        ([("x-token", GOOD), ("x_token", GOOD)], Reason.IDENTITY_AMBIGUOUS),
        ([("x_token", GOOD)], Reason.IDENTITY_AMBIGUOUS),
        ([("x-token", f"{GOOD}, {GOOD}")], Reason.IDENTITY_AMBIGUOUS),
        ([("x-token", f"{GOOD} {GOOD}")], MALFORMED),
        ([("x-token", f"Basic {GOOD}")], MALFORMED),
        ([("x-token", "bearer")], MALFORMED),
    ],
)
async def test_token_may_be_in_a_header_of_ones_choice(
    scene: Scene, headers: list[tuple[str, str]], expected: Identity | Reason
) -> None:
    """Alone, as Cloudflare Access and oauth2-proxy write it, or behind the scheme; then in no other."""
    scene.source = BearerToken(scene.keys, header="x-token")
    encoded = tuple((name.encode(), value.encode()) for name, value in headers)
    assert await scene.asked(CheckRequest("", "", encoded), scene.acme) == expected


async def test_audience_may_be_in_a_claim_of_ones_choice(scene: Scene) -> None:
    """Amazon Cognito's access tokens have client_id, and no aud."""
    cognito = replace(scene.acme, token=replace(scene.acme.token, audience="app", audience_claim="client_id"))
    found = [
        await scene.ask(token(**claims), organization=cognito)
        for claims in ({"client_id": "app"}, {"client_id": "b"}, {"aud": "app"}, {"client_id": None}, {"azp": "app"})
    ]
    assert found == [ALICE, *[Reason.IDENTITY_OF_ANOTHER_ORGANIZATION] * 4]


async def test_token_remembered_is_verified_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the keys were read again, as long as its own is among them."""
    verified: list[float] = []
    monkeypatch.setattr(scene.keys.budget, "spend", lambda _, seconds: verified.append(seconds))
    for keys in (SET["keys"], SET["keys"], [jwk(new_key("p256"), "new"), *SET["keys"]], [jwk(EC, "ec", alg="ES256")]):
        scene.file.write_text(json.dumps({"keys": keys}))
        assert await scene.ask(GOOD) == ALICE
        scene.seconds += 301
    assert len(verified) == 2


@pytest.mark.fuzz
async def test_token_mutated_is_refused_or_the_same(scene: Scene) -> None:
    """10,000 mutations in CI: a refusal of the user gate, or alice."""
    assert await scene.ask(GOOD) == ALICE
    drawn = random.Random(3)
    for _ in range(10_000 * int(os.environ.get("FUZZ", "1"))):
        scene.seconds += 0.003  # what new tokens may cost grows with time
        value = bytearray(GOOD.encode())
        for _ in range(drawn.randint(1, 3)):
            value[drawn.randrange(len(value))] = drawn.choice(b"ABCabc012-_.=\x00\xff")
        result = await scene.ask(b"Bearer " + bytes(value))
        assert result == ALICE if bytes(value) == GOOD.encode() else isinstance(result, Reason)
        assert isinstance(result, Identity) or result.gate is Gate.USER
