"""A JWK set (RFC 7517): which of its keys verify which tokens, and why the others are passed over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from authz.identity.strict_json import read_object
from authz.identity.verification_budget import verification_seconds
from authz.pki.x509.algorithms import MAX_EXPONENT_BITS, MAX_RSA_BITS, MIN_RSA_BITS
from authz.text import shown

MAX_KEYS: Final = 100
"""Keys in a set: the largest issuers publish a dozen. Reading one takes some 20 us, on the only thread."""

MAX_MODULUS_TEXT: Final = -(-MAX_RSA_BITS // 6) + 4
"""Characters of a modulus in base64url, with padding."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey

_RSA: Final = frozenset(f"{family}{size}" for family in ("RS", "PS") for size in (256, 384, 512))
_EDWARDS: Final = {"Ed25519": frozenset({"EdDSA", "Ed25519"}), "Ed448": frozenset({"EdDSA", "Ed448"})}

# RFC 7518 sections 3.1 and 6, RFC 8037, RFC 9864: what a key of this kty and crv verifies. No `none`, and no HMAC.
_VERIFIES: Final[dict[tuple[str, str | None], frozenset[str]]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    **{("OKP", curve): algorithms for curve, algorithms in _EDWARDS.items()},
}

ALGORITHMS: Final = frozenset().union(*_VERIFIES.values())
"""The values of `alg` that are allowed in a token."""

_MAKERS: Final[dict[str, Any]] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""The members of a JWK that only private and secret keys have (RFC 7518 sections 6.2.2, 6.3.2, 6.4)."""

_LABEL: Final = ("kid", "kty", "crv", "alg", "use")
_TEXTS: Final = (*_LABEL, "n", "e", "x", "y")

_EMPTY: Final[tuple[object, ...]] = (None, "", [], {})


@dataclass(frozen=True, slots=True, eq=False)
class SigningKey:
    """A public key with the algorithms that it may verify; `number` is never given to another key.

    `source` is the SHA-256 of the JWK: a set that is read again keeps the keys that did not change. `seconds` is the
    time that one verification takes.
    """

    key: PublicKey
    algorithms: frozenset[str]
    kid: str | None
    source: bytes
    number: int
    seconds: float


class ListedKey(NamedTuple):
    """A member of a key set: what it is called, and the key, or the cause for which it is passed over."""

    label: str
    key: SigningKey | None
    cause: str = ""


Chosen = dict[str | None, dict[str, tuple[SigningKey, ...]]]
"""The keys by `kid` and `alg` of a token. None has every key, for tokens without `kid`; "" the keys without one."""

_numbers: Final = count(1)


def read_key_set(data: bytes, known: Iterable[SigningKey] = ()) -> list[ListedKey]:
    """Every key that a JWK set lists, in order; a key that is among the `known` is that object.

    Raises `ValueError`, whose text is for the operator, if it is not a list of at most `MAX_KEYS` keys.
    """
    listed = read_object(data).get("keys")
    if not isinstance(listed, list):
        raise ValueError("no list of keys")  # noqa: TRY004 - a wrong value, not a wrong argument
    if len(listed) > MAX_KEYS:
        raise ValueError(f"{len(listed)} keys, {MAX_KEYS} are the limit")
    by_source = {key.source: key for key in known}
    return [_listed_key(jwk, by_source) for jwk in listed]


def choose_keys(listed: Iterable[ListedKey]) -> Chosen:
    """The keys that verify signatures, by what a token states. Raises `ValueError` if there are none."""
    chosen: Chosen = {}
    keys = dict.fromkeys(entry.key for entry in listed if entry.key is not None)
    if not keys:
        causes = "; ".join(f"{entry.label}: {entry.cause}" for entry in listed)
        raise ValueError(f"no key for signatures ({causes or 'the list is empty'})")
    for key in keys:
        for kid in (key.kid or "", None):
            by_algorithm = chosen.setdefault(kid, {})
            for algorithm in key.algorithms:
                by_algorithm[algorithm] = (*by_algorithm.get(algorithm, ()), key)
    return chosen


def _listed_key(jwk: object, known: dict[bytes, SigningKey]) -> ListedKey:
    if not isinstance(jwk, dict):
        return ListedKey("-", None, "not an object")
    # Issuers write members that they have no value for; RFC 7517 has no meaning for an empty one.
    members = {name: value for name, value in jwk.items() if value not in _EMPTY}
    label = shown(" ".join(str(members[name]) for name in _LABEL if isinstance(members.get(name), str)) or "-", 120)
    try:
        return ListedKey(label, _signing_key(members, known))
    except ValueError as error:
        return ListedKey(label, None, shown(str(error), 120))


def _signing_key(jwk: dict[str, Any], known: dict[bytes, SigningKey]) -> SigningKey:
    """The key, new or known. Raises `ValueError` with the cause for which it is passed over."""
    if any(not isinstance(jwk.get(name, ""), str) for name in _TEXTS):
        raise ValueError(f"one of {', '.join(_TEXTS)} is not text")
    algorithms = _algorithms(jwk)
    # Of a private key the library looks for primes, for seconds; its public half is not trusted either.
    if not _PRIVATE.isdisjoint(jwk):
        raise ValueError("a private key")
    source = hashlib.sha256(repr([jwk.get(name) for name in _TEXTS]).encode()).digest()
    if source not in known:
        key = _public_key(jwk)
        seconds = verification_seconds(key)
        known[source] = SigningKey(key, algorithms, jwk.get("kid"), source, next(_numbers), seconds)
    return known[source]


def _algorithms(jwk: dict[str, Any]) -> frozenset[str]:
    """What the key verifies, by all that it says of itself. Raises `ValueError` with the cause if that is nothing."""
    kty, curve, algorithm = jwk.get("kty"), jwk.get("crv"), jwk.get("alg")
    if jwk.get("use", "sig") != "sig":
        raise ValueError(f"use is {jwk['use']}, not sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("key_ops does not name verify")
    verified = _VERIFIES.get((str(kty), curve))
    if verified is None:
        raise ValueError(f"a key of kty {kty} and crv {curve} is not supported")
    if algorithm is None or (algorithm in verified and kty == "OKP"):
        # EdDSA and the curve's own name are the same algorithm (RFC 9864 section 2.2).
        return verified
    if algorithm not in verified:
        raise ValueError(f"alg {algorithm} is not one that this kty and crv verify")
    return frozenset({algorithm})


def _public_key(jwk: dict[str, Any]) -> PublicKey:
    """The key itself. Raises `ValueError` with the cause."""
    if len(jwk.get("n", "")) > MAX_MODULUS_TEXT:
        raise ValueError(f"an RSA key of more than {MAX_RSA_BITS} bits")
    try:
        key: PublicKey = _MAKERS[jwk["kty"]].from_jwk(jwk)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"its members are no key ({type(error).__name__})") from error
    if isinstance(key, rsa.RSAPublicKey) and not _affordable(key):
        raise ValueError(f"an RSA key of {key.key_size} bits, or its exponent, is not within the limits")
    return key


def _affordable(key: rsa.RSAPublicKey) -> bool:
    """The bounds of keys in certificates: with an exponent of 3,000 bits a verification blocks all checks for 6 ms."""
    exponent = key.public_numbers().e
    return MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS and exponent.bit_length() <= MAX_EXPONENT_BITS
