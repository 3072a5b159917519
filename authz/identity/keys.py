"""The public keys of token issuers (RFC 7517): from a file or a URL, refreshed, bounded, never a secret.

A set is read again every five minutes, and if a token may be of a key that is not in it, but at most once per
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
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from authz.blocking_calls import run_in_daemon_thread
from authz.errors import NotLoaded, Refused
from authz.identity.key_set import Chosen, ListedKey, SigningKey, choose_keys, read_key_set
from authz.identity.verification_budget import VerificationBudget
from authz.reasons import Reason
from authz.text import shown

REFRESH_SECONDS: Final = 300.0
COOL_DOWN_SECONDS: Final = 30.0
KEEP_SECONDS: Final = 3_600.0
FETCH_SECONDS: Final = 5.0

PATIENCE_SECONDS: Final = 0.1
"""The time that a check waits for a newer set if the last good one is usable: a third of all that it may wait."""

MAX_KEY_SET: Final = 256 * 1024
"""Bytes of a key set: some hundred keys."""

KEY_BYTES: Final = 2_560
"""Bytes of memory that a key takes: measured, 2,370 with P-256, 1,130 and 1,800 with RSA of 2,048 and 8,192 bits."""

MAX_BYTES: Final = 32 * 1024 * 1024
"""Bytes of memory for all sets, unless `SHARE_BYTES` of each are more; 13,000 keys."""

SHARE_BYTES: Final = 32 * 1024
"""Bytes that every set may take, regardless of the others: a dozen keys."""

MAX_CANDIDATES: Final = 4
"""Keys that one token is tried with: with ES512 that is 6 ms on the only thread."""


@dataclass(frozen=True, slots=True)
class JwksKey:
    """A key set that should be read (again), for a token that is not verified yet."""

    location: str
    proven: ClassVar[bool] = False

    @property
    def queue(self) -> Hashable:
        """The checks that wait for the same set."""
        return "keys", self.location


@dataclass(slots=True)
class _KeySet:
    """One location's keys, as tokens choose them."""

    chosen: Chosen = field(default_factory=dict)
    size: int = 0
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
        self._failing: set[str] = set()
        self.budget = VerificationBudget(monotonic)

    def find(self, location: str, kid: str | None, algorithm: str) -> tuple[SigningKey, ...]:
        """The keys that may have signed a token with this `kid` and `alg`, one to four; a key without `kid` has any.

        Raises `NotLoaded` if the set should be read first, `Refused`: token_keys_unavailable, token_key_unknown,
        token_signature_invalid if the key of that `kid` is for other algorithms, token_key_ambiguous.
        """
        key_set = self._used(location)
        chosen = key_set.chosen
        candidates = (chosen.get(kid) or chosen.get("") or {}).get(algorithm, ())
        age = self._monotonic() - key_set.good
        if not candidates or age >= KEEP_SECONDS:
            self._read_first(location, key_set)
        elif age >= REFRESH_SECONDS and self._may_read(key_set):
            raise NotLoaded(JwksKey(location))
        if age >= KEEP_SECONDS:
            raise Refused(Reason.TOKEN_KEYS_UNAVAILABLE, f"the key set at {location} cannot be read")
        if not candidates:
            named = kid is not None and kid in chosen
            reason = Reason.TOKEN_SIGNATURE_INVALID if named else Reason.TOKEN_KEY_UNKNOWN
            raise Refused(reason, f"the key set has no key {kid or 'without kid'} for {algorithm}")
        if len(candidates) > MAX_CANDIDATES:
            raise Refused(Reason.TOKEN_KEY_AMBIGUOUS, f"{len(candidates)} keys may be that of the token")
        return candidates

    @property
    def failing(self) -> dict[str, float]:
        """The sets that cannot be read, by location: for how many seconds the last good copy of each is usable."""
        now = self._monotonic()
        return {location: max(0.0, self._sets[location].good + KEEP_SECONDS - now) for location in self._failing}

    def read_again(self, location: str) -> None:
        """Raise `NotLoaded` if the set may have another key by now, for a token that no candidate verifies."""
        self._read_first(location, self._used(location))

    def _read_first(self, location: str, key_set: _KeySet) -> None:
        # The set being read may have the key: refusing now would refuse all first tokens but one.
        if location in self._flights or self._may_read(key_set):
            raise NotLoaded(JwksKey(location))

    def _may_read(self, key_set: _KeySet) -> bool:
        return self._monotonic() - key_set.tried >= COOL_DOWN_SECONDS

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
            chosen = choose_keys(read_key_set(data, _every(key_set.chosen)))
        except READING_ERRORS as error:
            self._warn(f"the key set at {location} cannot be read: {cause_of(error)}")
            self._failing.add(location)
            return
        self._failing.discard(location)
        self._hold(key_set, chosen)
        key_set.good = self._monotonic()
        self._make_room()

    async def _file(self, location: str) -> bytes:
        """The content of a file. While a read hangs, on a network file system, no second one is started."""
        reading = self._readings.get(location)
        if reading is None:
            reading = self._readings[location] = _thread_reading(location)
            reading.add_done_callback(lambda _: self._readings.pop(location, None))
        return await asyncio.shield(reading)

    def _used(self, location: str) -> _KeySet:
        """The set of a location, now the most recently used; an empty one if it is missing."""
        key_set = self._sets.pop(location, None)
        if key_set is None:
            return _KeySet()
        self._sets[location] = key_set
        return key_set

    def _hold(self, key_set: _KeySet, chosen: Chosen) -> None:
        self._size -= key_set.size
        key_set.chosen = chosen
        # A kid may be as long as the set.
        key_set.size = sum(KEY_BYTES + sys.getsizeof(key.kid) for key in _every(chosen))
        self._size += key_set.size

    def _forget(self) -> None:
        """Drop the sets of organizations that are gone or idle."""
        now = self._monotonic()
        while self._sets:
            location, key_set = next(iter(self._sets.items()))
            if not key_set.expired(now):
                return
            self._hold(key_set, {})
            self._failing.discard(location)
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


def _every(chosen: Chosen) -> set[SigningKey]:
    return {key for keys in chosen.get(None, {}).values() for key in keys}


READING_ERRORS: Final = (OSError, ValueError, TimeoutError, aiohttp.ClientError)
"""What reading a key set raises."""


def cause_of(error: Exception) -> str:
    """Why a key set cannot be read, for the operator."""
    if isinstance(error, FileNotFoundError | PermissionError):
        return str(error.strerror)
    words = isinstance(error, ValueError) and not isinstance(error, UnicodeError)
    return shown(str(error), 500) if words else type(error).__name__


async def listed_keys(location: str) -> list[ListedKey]:
    """What the key set at a file or URL lists at this moment. Raises one of `READING_ERRORS`."""
    async with asyncio.timeout(FETCH_SECONDS):
        return read_key_set(await (_fetch(location) if "://" in location else _thread_reading(location)))


def problem_of(location: str) -> str:
    """Why the key set at a file or URL verifies no token at this moment; empty if it does. Runs a loop of its own."""
    try:
        choose_keys(asyncio.run(listed_keys(location)))
    except READING_ERRORS as error:
        return cause_of(error)
    return ""


def _thread_reading(location: str) -> asyncio.Future[bytes]:
    return run_in_daemon_thread(partial(_read_file, location), "read a key set")


def _read_file(location: str) -> bytes:
    with Path(location).open("rb") as file:
        return _bounded(file.read(MAX_KEY_SET + 1))


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_KEY_SET:
        raise ValueError(f"more than {MAX_KEY_SET} bytes")
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
            raise ValueError(f"the answer has status {answer.status}, or a content encoding")
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
