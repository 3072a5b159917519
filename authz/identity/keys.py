"""The public keys of token issuers (RFC 7517): from a file or a URL, refreshed, bounded, never a secret.

A set is read again every five minutes, and if a token names a key that is not in it, but at most once per
cool-down. Checks that need a set wait for one reading together; a check whose key is at hand does not wait
long. While the set cannot be read, the last good one is used for an hour; after that its tokens are refused.
A set that is large, slow or unreachable affects only the organizations that use it.
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

from authz.blocking_calls import run_in_daemon_thread
from authz.errors import NotLoaded, Refused
from authz.identity.strict_json import read_object
from authz.pki.x509.algorithms import MAX_EXPONENT_BITS, MAX_RSA_BITS, MIN_RSA_BITS
from authz.reasons import Reason

REFRESH_SECONDS: Final = 300.0
COOL_DOWN_SECONDS: Final = 30.0
KEEP_SECONDS: Final = 3_600.0
FETCH_SECONDS: Final = 5.0

PATIENCE_SECONDS: Final = 0.1
"""The time that a check waits for a newer set if the last good one is usable: a third of all that it may wait."""

MAX_KEY_SET: Final = 256 * 1024
"""Bytes of a key set: some hundred keys."""

MAX_KEYS: Final = 100
"""Keys in a set: the largest issuers publish a dozen. Reading one takes some 20 us, on the only thread."""

KEY_BYTES: Final = 2_560
"""Bytes of memory that a key takes: measured, 2,370 with P-256, 1,130 and 1,800 with RSA of 2,048 and 8,192 bits."""

MAX_BYTES: Final = 32 * 1024 * 1024
"""Bytes of memory for all sets, unless `SHARE_BYTES` of each are more; 13,000 keys."""

SHARE_BYTES: Final = 32 * 1024
"""Bytes that every set may take, regardless of the others: a dozen keys."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey

_EDWARDS: Final = (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)

# RFC 7518 section 3.1 and RFC 8037: the algorithms allowed, and their keys. `none` and HMAC are not among them.
ALGORITHMS: Final[dict[str, tuple[type | tuple[type, ...], str]]] = {
    **{f"{family}{size}": (rsa.RSAPublicKey, "") for family in ("RS", "PS") for size in (256, 384, 512)},
    "ES256": (ec.EllipticCurvePublicKey, "secp256r1"),
    "ES384": (ec.EllipticCurvePublicKey, "secp384r1"),
    "ES512": (ec.EllipticCurvePublicKey, "secp521r1"),
    "EdDSA": (_EDWARDS, ""),
}


@dataclass(frozen=True, slots=True)
class JwksKey:
    """A key set that should be read (again), for a token that is not verified yet."""

    location: str
    proven: ClassVar[bool] = False

    @property
    def queue(self) -> Hashable:
        """The checks that wait for the same set."""
        return "keys", self.location


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key, and the algorithm that it is restricted to, if any."""

    key: PublicKey
    algorithm: str | None = None

    def fits(self, algorithm: str) -> bool:
        """Whether the key may verify this algorithm, by its kind, its curve and its own restriction."""
        kind, curve = ALGORITHMS[algorithm]
        if not isinstance(self.key, kind) or self.algorithm not in (None, algorithm):
            return False
        return not curve or (isinstance(self.key, ec.EllipticCurvePublicKey) and self.key.curve.name == curve)


@dataclass(slots=True)
class _KeySet:
    """One location's keys by `kid`; `version` is unique for each reading, of any location."""

    keys: dict[str | None, SigningKey] = field(default_factory=dict)
    size: int = 0
    version: int = 0
    tried: float = float("-inf")
    good: float = float("-inf")

    def expired(self, now: float) -> bool:
        """Whether neither its keys nor its cool-down matter any more."""
        return now - self.good >= KEEP_SECONDS and now - self.tried >= COOL_DOWN_SECONDS


class JwksCache:
    """Every key set in use; implements `authz.ports.Source`. `monotonic` gives seconds, `warn` receives failures."""

    def __init__(self, *, monotonic: Callable[[], float], warn: Callable[[str], None]) -> None:
        self._monotonic = monotonic
        self._warn = warn
        # The least recently used first.
        self._sets: dict[str, _KeySet] = {}
        self._size = 0
        self._readings: dict[str, asyncio.Future[bytes]] = {}
        self._flights: dict[str, asyncio.Task[None]] = {}
        self._versions = count(1)

    def find(self, location: str, kid: str | None) -> tuple[SigningKey, int]:
        """The key that a token names, and the version of its set.

        Raises `NotLoaded` if the set should be read first, `Refused`: token_keys_unavailable, token_key_unknown.
        """
        key_set = self._used(location)
        now = self._monotonic()
        may_read = now - key_set.tried >= COOL_DOWN_SECONDS
        usable = kid in key_set.keys and now - key_set.good < KEEP_SECONDS
        if may_read and (now - key_set.good >= REFRESH_SECONDS or not usable):
            raise NotLoaded(JwksKey(location))
        # The set being read may have the key: refusing now would refuse all first tokens but one.
        if not usable and location in self._flights:
            raise NotLoaded(JwksKey(location))
        if now - key_set.good >= KEEP_SECONDS:
            raise Refused(Reason.TOKEN_KEYS_UNAVAILABLE, f"the key set at {location} cannot be read")
        if kid not in key_set.keys:
            raise Refused(Reason.TOKEN_KEY_UNKNOWN, f"the key set has no key {kid}")
        return key_set.keys[kid], key_set.version

    async def load(self, key: Hashable) -> bool:
        """See `authz.ports.Source`; checks that wait for one set share its reading, and a failure starts the cool-down.

        Returns after `PATIENCE_SECONDS`, while the reading goes on, if the last good set is usable.
        """
        if not isinstance(key, JwksKey):
            return False
        location = key.location
        flight = self._flights.get(location)
        if flight is None:
            flight = self._flights[location] = asyncio.create_task(self._read(location))
            flight.add_done_callback(lambda _: self._flights.pop(location, None))
        key_set = self._sets.get(location, _KeySet())
        usable = self._monotonic() - key_set.good < KEEP_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS if usable else None):
                await asyncio.shield(flight)
        return True

    async def _read(self, location: str) -> None:
        self._forget()
        key_set = self._sets.setdefault(location, _KeySet())
        key_set.tried = self._monotonic()
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                data = await (_fetch(location) if "://" in location else self._file(location))
            keys = parse_key_set(data)
        except (OSError, ValueError, TimeoutError, aiohttp.ClientError) as error:
            self._warn(f"the key set at {location} cannot be read: {type(error).__name__}")
            return
        self._hold(key_set, keys)
        key_set.good = self._monotonic()
        key_set.version = next(self._versions)
        self._make_room()

    async def _file(self, location: str) -> bytes:
        """The content of a file. While a read hangs, on a network file system, no second one is started."""
        reading = self._readings.get(location)
        if reading is None:
            reading = self._readings[location] = run_in_daemon_thread(partial(_read_file, location), "read a key set")
            reading.add_done_callback(lambda _: self._readings.pop(location, None))
        return await asyncio.shield(reading)

    def _used(self, location: str) -> _KeySet:
        """The set of a location, now the most recently used; an empty one if it is missing."""
        key_set = self._sets.pop(location, None)
        if key_set is None:
            return _KeySet()
        self._sets[location] = key_set
        return key_set

    def _hold(self, key_set: _KeySet, keys: dict[str | None, SigningKey]) -> None:
        self._size -= key_set.size
        key_set.keys = keys
        # A kid may be as long as the set.
        key_set.size = sum(KEY_BYTES + sys.getsizeof(kid) for kid in keys)
        self._size += key_set.size

    def _forget(self) -> None:
        """Drop the sets of organizations that are gone or idle."""
        now = self._monotonic()
        while self._sets:
            location, key_set = next(iter(self._sets.items()))
            if not key_set.expired(now):
                return
            self._hold(key_set, {})
            del self._sets[location]

    def _make_room(self) -> None:
        """Empty sets that take more than their share, until all are within the bound.

        An emptied set is read again, once its cool-down is over.
        """
        share = max(MAX_BYTES // len(self._sets), SHARE_BYTES)
        for key_set in self._sets.values():
            if self._size <= MAX_BYTES:
                return
            if key_set.size > share:
                self._hold(key_set, {})
                key_set.good = float("-inf")


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
        aiohttp.TCPConnector(resolver=_Resolver()) as connector,
        aiohttp.ClientSession(connector=connector, auto_decompress=False, headers=headers) as client,
        client.get(location, allow_redirects=False) as answer,
    ):
        if answer.status != 200 or "content-encoding" in answer.headers:
            raise ValueError("not a plain answer")
        data = b""
        async for chunk in answer.content.iter_chunked(64 * 1024):
            data = _bounded(data + chunk)
        return data


class _Resolver(AbstractResolver):
    """Looks names up in threads of their own: uvloop has two, which one tenant's unresponsive DNS could block."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses that the system gives. Raises `OSError`."""
        look = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        return [
            ResolveResult(hostname=host, host=str(to[0]), port=port, family=kind, proto=proto, flags=_NUMERIC)
            for kind, _, proto, _, to in await run_in_daemon_thread(look, "look-up of an issuer")
        ]

    async def close(self) -> None:
        """Nothing to close."""


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

    Keys of other kinds and uses are skipped, and all keys with the same `kid`. A key without one is for tokens
    without one, if it is the only key. Raises `ValueError` if no key is left.
    """
    listed = read_object(data).get("keys")
    if not isinstance(listed, list):
        raise ValueError("no list of keys")  # noqa: TRY004 - a wrong value, not a wrong argument
    if len(listed) > MAX_KEYS:
        raise ValueError("too many keys")
    keys: dict[str | None, SigningKey] = {}
    twice: set[str | None] = set()
    for jwk in listed:
        key = _signing_key(jwk)
        if key is not None:
            kid = jwk.get("kid")
            twice |= {kid} & keys.keys()
            keys[kid] = key
    if None in keys and len(listed) > 1:
        twice.add(None)
    kept = {kid: key for kid, key in keys.items() if kid not in twice}
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
    """The bounds of keys in certificates: with an exponent of 3,000 bits a verification blocks all checks for 6 ms."""
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
