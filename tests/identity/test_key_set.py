"""A key set: which of its keys are used for which tokens, and the cause for which each other one is passed over."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import to_base64url_uint
from support.certificates import new_key

from authz.identity import key_set
from authz.identity.key_set import MAX_KEYS, choose_keys, read_key_set


def public(maker: Any, kind: str) -> dict[str, Any]:
    """The JWK of a new key."""
    return json.loads(maker.to_jwk(new_key(kind).public_key()))  # type: ignore[no-any-return]


EC, EC384, ED = public(ECAlgorithm, "p256"), public(ECAlgorithm, "p384"), public(OKPAlgorithm, "ed25519")
RSA, SMALL = public(RSAAlgorithm, "rsa2048"), public(RSAAlgorithm, "rsa1024")
COSTLY = {**RSA, "e": to_base64url_uint((1 << 33) + 1).decode()}
SECRET = {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}
A = {**EC, "kid": "a"}
EMPTY: tuple[Any, ...] = (None, "", [], {})


def document(*keys: Any) -> bytes:
    """A key set."""
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize(
    ("members", "algorithms"),
    [
        (A, "ES256"),
        ({**A, "use": "sig", "key_ops": ["verify"], "alg": "ES256"}, "ES256"),
        ({**A, "key_ops": ["sign", "verify"]}, "ES256"),
        (EC384, "ES384"),
        (RSA, "PS256 PS384 PS512 RS256 RS384 RS512"),
        ({**RSA, "alg": "PS384"}, "PS384"),
        (ED, "Ed25519 EdDSA"),
        ({**ED, "alg": "EdDSA"}, "Ed25519 EdDSA"),
        ({**ED, "alg": "Ed25519"}, "Ed25519 EdDSA"),
        *(({**A, **dict.fromkeys(("kid", "alg", "use", "key_ops", "d", "x5c"), empty)}, "ES256") for empty in EMPTY),
        ({**RSA, "crv": None, "oth": []}, "PS256 PS384 PS512 RS256 RS384 RS512"),
    ],
)  # fmt: skip
def test_key_verifies_what_it_says_of_itself(members: dict[str, Any], algorithms: str) -> None:
    """By kty, crv and alg; a member that is null or empty is absent."""
    (listed,) = read_key_set(document(members))
    assert (listed.cause, sorted(listed.key.algorithms)) == ("", algorithms.split())


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        (SECRET, "kty oct and crv None is not supported"),
        ({**A, "d": EC["x"]}, "private"),
        (SMALL, "1024 bits"),
        (COSTLY, "exponent"),
        ({**A, "use": "enc"}, "use is enc"),
        ({**A, "use": ["sig"]}, "not text"),
        ({**A, "key_ops": ["sign"]}, "key_ops"),
        ({**A, "key_ops": "verify"}, "key_ops"),
        ({**A, "alg": "HS256"}, "alg HS256"),
        ({**A, "alg": "none"}, "alg none"),
        ({**A, "alg": "ES384"}, "alg ES384"),
        ({**A, "alg": "ECDH-ES"}, "alg ECDH-ES"),
        ({**A, "alg": ["ES256"]}, "not text"),
        ({**RSA, "alg": "RSA-OAEP-256"}, "alg RSA-OAEP-256"),
        ({**ED, "alg": "Ed448"}, "alg Ed448"),
        ({**EC, "kid": 1}, "not text"),
        ({**EC, "crv": "secp256k1"}, "secp256k1"),
        ({**EC, "crv": "P-384"}, "no key"),
        ({**EC, "x": EC["y"]}, "no key"),
        ({**RSA, "n": None}, "no key"),
        ({**RSA, "n": [RSA["n"]]}, "not text"),
        ({"kty": "EC"}, "crv None"),
        ({"kty": None}, "kty None"),
        ("x", "not an object"),
        (None, "not an object"),
    ],
)
def test_key_that_verifies_nothing_is_passed_over_for_a_cause(members: Any, cause: str) -> None:
    """The set's other keys are used all the same."""
    listed = read_key_set(document(members, A))
    assert cause in listed[0].cause
    assert [entry.key is not None for entry in listed] == [False, True]
    assert set(choose_keys(listed)) == {"a", None}
    with pytest.raises(ValueError, match="no key for signatures"):
        choose_keys(listed[:1])


def test_keys_are_chosen_by_kid_and_alg() -> None:
    """A kid that stands twice has both keys; without a kid there are all; an entry that stands twice counts once."""
    twice = [{**EC384, "kid": "a"}, A, {**RSA, "kid": "a", "use": "enc"}, A, {**ED, "alg": "EdDSA"}]
    chosen = choose_keys(read_key_set(document(*twice)))
    found = {kid: {algorithm: len(keys) for algorithm, keys in by.items()} for kid, by in chosen.items()}
    one_each = {"ES256": 1, "ES384": 1}
    edwards = {"EdDSA": 1, "Ed25519": 1}
    assert found == {"a": one_each, "": edwards, None: one_each | edwards}


def test_key_read_again_is_the_same_object() -> None:
    """Wherever it stands, whatever member that is of no account changed; with another kid or alg it is another one."""
    (first,) = read_key_set(document({**A, "use": "sig"}))
    again = read_key_set(document(ED, {**A, "use": "sig", "x5t": "new"}, {**A, "kid": "b"}), [first.key])
    assert again[1].key is first.key
    assert len({entry.key.number for entry in (first, *again)}) == 3


def test_private_key_is_passed_over_before_the_library_makes_one_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look for the primes of a modulus, for seconds that every tenant waits."""
    modulus = to_base64url_uint(2**8191 + 1).decode()
    stated = {"kty": "RSA", "kid": "b", "n": modulus, "e": "AQAB"}
    longer = {**stated, "n": to_base64url_uint(2**16383 + 1).decode()}
    private = [{**stated, member: modulus} for member in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")]
    made: list[object] = []
    monkeypatch.setitem(key_set._MAKERS, "RSA", SimpleNamespace(from_jwk=made.append))
    assert all(entry.cause for entry in read_key_set(document(*private, longer)))
    assert made == []


def test_what_an_issuer_wrote_is_shown_bounded_and_escaped() -> None:
    """A kid may be as long as a set, and hold what moves a terminal's cursor."""
    (listed,) = read_key_set(document({**SECRET, "kid": "\x1b[2J" + "x" * 9_000, "kty": "\u202eoct" * 99}))
    assert max(len(listed.label), len(listed.cause)) <= 6 * 120
    assert (listed.label + listed.cause).isprintable()


NESTED = b'{"keys":[{"kty":"EC","kid":%s}]}' % (b"[" * 900 + b"]" * 900)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"keys":[],"keys":[]}', b"[" * 100_000, NESTED])
def test_bytes_that_are_no_key_set_are_an_error(data: bytes) -> None:
    """A `ValueError`, whatever they are."""
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        choose_keys(read_key_set(data))


@pytest.mark.parametrize("keys", ["x", None, [A] * (MAX_KEYS + 1)], ids=["text", "null", "too many"])
def test_list_of_keys_is_bounded(keys: Any) -> None:
    """No list, or one that takes long to read."""
    with pytest.raises(ValueError, match="keys"):
        read_key_set(json.dumps({"keys": keys}).encode())
