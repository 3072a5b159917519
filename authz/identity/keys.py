"""The public keys of token issuers (RFC 7517): from a file or a URL, refreshed, bounded, never a secret.

A set is read anew every five minutes, and when a token names a key it does not hold, but at most once
in a cool-down. Checks that need a set wait for its reading together; one whose key is held already
does not wait long. While the set cannot be read the last good one serves for an hour; then its tokens are refused.
A set that is large, slow or away is felt by those alone whose it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import aiohttp
import jwt
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from authz.blocking_calls import apart
from authz.errors import NotLoaded, Refused
from authz.identity.strict_json import read_object
from authz.pki.x509.algorithms import MAX_EXPONENT_BITS, MAX_RSA_BITS, MIN_RSA_BITS
from authz.reasons import Reason

REFRESH_SECONDS: Final = 300.0
COOL_DOWN_SECONDS: Final = 30.0
KEEP_SECONDS: Final = 3_600.0
FETCH_SECONDS: Final = 5.0

PATIENCE_SECONDS: Final = 0.1
"""How long a check waits for a newer set where the last good one would serve: a third of what a check may wait."""

MAX_KEY_SET: Final = 256 * 1024
"""Octets of a key set: some hundred keys."""

MAX_KEYS: Final = 100
"""Keys listed in a set: the largest issuers publish a dozen. Each takes some 20 us to read, on everybody's thread."""

KEY_OCTETS: Final = 2_560
"""Octets of memory that a key takes: measured, 2,370 with P-256, 1,130 and 1,800 with RSA of 2,048 and 8,192 bits."""

MAX_OCTETS: Final = 32 * 1024 * 1024
"""Octets of memory that all sets take, if `SHARE_OCTETS` of each do not come to more; 13,000 keys."""

SHARE_OCTETS: Final = 32 * 1024
"""What every organization's set may take, however many there are and whatever others take: a dozen keys."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey

_EDWARDS: Final = (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)

# RFC 7518 section 3.1 and RFC 8037: what may sign, and the keys that go with it. `none` and HMAC are not in it.
ALGORITHMS: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    **{f"{family}{size}": (rsa.RSAPublicKey, "") for family in ("RS", "PS") for size in (256, 384, 512)},
    "ES256": (ec.EllipticCurvePublicKey, "secp256r1"),
    "ES384": (ec.EllipticCurvePublicKey, "secp384r1"),
    "ES512": (ec.EllipticCurvePublicKey, "secp521r1"),
    "EdDSA": (_EDWARDS, ""),
}


@dataclass(frozen=True, slots=True)
class KeysKey:
    """A key set that should be read (again), for a token that is not verified yet."""

    location: str
    proven: ClassVar[bool] = False

    @property
    def pool(self) -> Hashable:
        """Whoever waits for the same set."""
        return "keys", self.location


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key, and the algorithm it is meant for, if it says."""

    key: PublicKey
    algorithm: str | None = None

    def fits(self, algorithm: str) -> bool:
        """Whether the key may verify this algorithm: its kind, its curve, and what it says of itself."""
        kind, curve = ALGORITHMS[algorithm]
        if not isinstance(self.key, kind) or self.algorithm not in (None, algorithm):
            return False
        return not curve or (isinstance(self.key, ec.EllipticCurvePublicKey) and self.key.curve.name == curve)


@dataclass(slots=True)
class _Set:
    """One location's keys by `kid`; `version` tells one reading from every other, of whatever location."""

    keys: dict[str | None, SigningKey] = field(default_factory=dict)
    octets: int = 0
    version: int = 0
    tried: float = float("-inf")
    good: float = float("-inf")

    def worthless(self, now: float) -> bool:
        """Whether it serves nothing any more: neither its keys, nor the moment from which its cool-down counts."""
        return now - self.good >= KEEP_SECONDS and now - self.tried >= COOL_DOWN_SECONDS


class JwksCache:
    """Every key set in use; implements `authz.ports.Source`. `monotonic` gives seconds, `warn` is told of failures."""

    def __init__(self, *, monotonic: Callable[[], float], warn: Callable[[str], None]) -> None:
        self._monotonic = monotonic
        self._warn = warn
        # The least recently used first.
        self._sets: dict[str, _Set] = {}
        self._octets = 0
        self._readings: dict[str, asyncio.Future[bytes]] = {}
        self._flights: dict[str, asyncio.Task[None]] = {}
        self._versions = count(1)

    def find(self, location: str, kid: str | None) -> tuple[SigningKey, int]:
        """The key a token names, and the version of its set.

        Raises `NotLoaded` when the set should be read first, `Refused`: token_keys_unavailable, token_key_unknown.
        """
        held = self._used(location)
        now = self._monotonic()
        may_read = now - held.tried >= COOL_DOWN_SECONDS
        usable = kid in held.keys and now - held.good < KEEP_SECONDS
        if may_read and (now - held.good >= REFRESH_SECONDS or not usable):
            raise NotLoaded(KeysKey(location))
        # What is being read now may hold the key: to refuse would refuse every first token but one.
        if not usable and location in self._flights:
            raise NotLoaded(KeysKey(location))
        if now - held.good >= KEEP_SECONDS:
            raise Refused(Reason.TOKEN_KEYS_UNAVAILABLE, f"the key set at {location} cannot be read")
        if kid not in held.keys:
            raise Refused(Reason.TOKEN_KEY_UNKNOWN, f"the key set has no key {kid}")
        return held.keys[kid], held.version

    async def load(self, key: Hashable) -> bool:
        """See `authz.ports.Source`; checks that wait for one set share its reading, and a failure is remembered.

        Returns before the reading ends where the last good set serves meanwhile.
        """
        if not isinstance(key, KeysKey):
            return False
        location = key.location
        flight = self._flights.get(location)
        if flight is None:
            flight = self._flights[location] = asyncio.create_task(self._read(location))
            flight.add_done_callback(lambda _: self._flights.pop(location, None))
        held = self._sets.get(location, _Set())
        serves = self._monotonic() - held.good < KEEP_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS if serves else None):
                await asyncio.shield(flight)
        return True

    async def _read(self, location: str) -> None:
        self._forget()
        held = self._sets.setdefault(location, _Set())
        held.tried = self._monotonic()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                data = await (_fetch(location) if "://" in location else self._file(location))
            keys = parse_key_set(data)
        except (OSError, ValueError, TimeoutError, aiohttp.ClientError) as error:
            self._warn(f"the key set at {location} cannot be read: {type(error).__name__}")
            return
        self._hold(held, keys)
        held.good = self._monotonic()
        held.version = next(self._versions)
        self._make_room()

    async def _file(self, location: str) -> bytes:
        """What is in a file. One on a file system that is away has one thread, and is asked for no second time."""
        reading = self._readings.get(location)
        if reading is None:
            reading = self._readings[location] = apart(partial(_read_file, location), "read a key set")
            reading.add_done_callback(lambda _: self._readings.pop(location, None))
        return await asyncio.shield(reading)

    def _used(self, location: str) -> _Set:
        """The set of a location, an empty one if there is none, which is the most recently used now."""
        held = self._sets.pop(location, None)
        if held is None:
            return _Set()
        self._sets[location] = held
        return held

    def _hold(self, held: _Set, keys: dict[str | None, SigningKey]) -> None:
        self._octets -= held.octets
        held.keys = keys
        # A kid may be as long as the set.
        held.octets = sum(KEY_OCTETS + sys.getsizeof(kid) for kid in keys)
        self._octets += held.octets

    def _forget(self) -> None:
        """Let go of what organizations used that are gone or idle."""
        now = self._monotonic()
        while self._sets:
            location, held = next(iter(self._sets.items()))
            if not held.worthless(now):
                return
            self._hold(held, {})
            del self._sets[location]

    def _make_room(self) -> None:
        """Empty sets until they are within the bound: those that take more than their share, no others.

        When one was tried stays known: it is read again, and not before its cool-down is over.
        """
        share = max(MAX_OCTETS // len(self._sets), SHARE_OCTETS)
        for held in self._sets.values():
            if self._octets <= MAX_OCTETS:
                return
            if held.octets > share:
                self._hold(held, {})
                held.good = float("-inf")


def _read_file(location: str) -> bytes:
    with Path(location).open("rb") as file:
        return _bounded(file.read(MAX_KEY_SET + 1))


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_KEY_SET:
        raise ValueError("a key set that is too large")
    return data


async def _fetch(location: str) -> bytes:
    """Over https, or http on loopback; no redirects, no encodings, no more than a key set's size."""
    check_location(location)
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    async with (
        aiohttp.TCPConnector(resolver=_Names()) as connector,
        aiohttp.ClientSession(connector=connector, auto_decompress=False, headers=headers) as client,
        client.get(location, allow_redirects=False) as answer,
    ):
        if answer.status != 200 or "content-encoding" in answer.headers:
            raise ValueError("not a plain answer")
        data = b""
        async for chunk in answer.content.iter_chunked(64 * 1024):
            data = _bounded(data + chunk)
        return data


class _Names(AbstractResolver):
    """Looks names up apart: uvloop has two threads for it, and one tenant's silent name servers would have both."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses that the system gives. Raises `OSError`."""
        look = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        return [
            ResolveResult(hostname=host, host=str(to[0]), port=port, family=kind, proto=proto, flags=_NUMERIC)
            for kind, _, proto, _, to in await apart(look, "look-up of an issuer")
        ]

    async def close(self) -> None:
        """Nothing is held."""


_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def check_location(location: str) -> None:
    """Raises `ValueError` unless the URL is https, or http on a loopback address."""
    parts = urlsplit(location)
    if parts.scheme == "https" and parts.hostname:
        return
    try:
        loopback = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "http" or not loopback:
        raise ValueError("a key set is fetched over https")


def parse_key_set(data: bytes) -> dict[str | None, SigningKey]:
    """The keys for signatures in a JWK set, by `kid`.

    Keys of other kinds and uses are passed over; a `kid` that stands twice is nobody's. A key without one
    serves tokens without one, if it is the only key. Raises `ValueError` when no key is left.
    """
    listed = read_object(data).get("keys")
    if not isinstance(listed, list):
        raise ValueError("no list of keys")  # noqa: TRY004 - a wrong value, not a wrong argument
    if len(listed) > MAX_KEYS:
        raise ValueError("too many keys")
    found: dict[str | None, SigningKey] = {}
    twice: set[str | None] = set()
    for one in listed:
        key = _signing_key(one)
        if key is not None:
            kid = one.get("kid")
            twice |= {kid} & found.keys()
            found[kid] = key
    if None in found and len(listed) > 1:
        twice.add(None)
    kept = {kid: key for kid, key in found.items() if kid not in twice}
    if not kept:
        raise ValueError("no key for signatures")
    return kept


def _signing_key(jwk: Any) -> SigningKey | None:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or not _may_verify(jwk.get("key_ops", ["verify"])):
        return None
    algorithm, kid = jwk.get("alg"), jwk.get("kid")
    if not isinstance(algorithm, str | None) or not isinstance(kid, str | None):
        return None
    if (algorithm is not None and algorithm not in ALGORITHMS) or not _is_public(jwk):
        return None
    try:
        key = jwt.PyJWK(jwk, algorithm or "RS256" if jwk.get("kty") == "RSA" else algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if not isinstance(key, PublicKey) or (isinstance(key, rsa.RSAPublicKey) and not _affordable(key)):
        return None
    return SigningKey(key, algorithm)


def _affordable(key: rsa.RSAPublicKey) -> bool:
    """The bounds of keys in certificates: with an exponent of 3,000 bits a verification takes 6 ms, everybody's."""
    exponent = key.public_numbers().e
    return MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS and exponent.bit_length() <= MAX_EXPONENT_BITS


def _is_public(jwk: dict[str, Any]) -> bool:
    """Whether the library may make a key of it: of a private one it looks for primes, for seconds.

    The public half of a private key is not trusted either.
    """
    return _PRIVATE.isdisjoint(jwk) and len(str(jwk.get("n", ""))) <= MAX_MODULUS_TEXT


_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""The members of a JWK that only private and secret keys have (RFC 7518 sections 6.2.2, 6.3.2, 6.4)."""

MAX_MODULUS_TEXT: Final = -(-MAX_RSA_BITS // 6) + 4
"""Characters of a modulus in base64url, with padding."""


def _may_verify(operations: object) -> bool:
    return isinstance(operations, list) and "verify" in operations
