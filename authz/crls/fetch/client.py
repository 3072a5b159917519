"""Fetches a CRL over HTTP from a server that is not trusted: bounded in time, in size, and in where it connects to.

Nothing fetched is trusted for having come: its signature says whose it is. What is refused here is what
could harm us on the way: an address of our own network, an answer without end, a page in the place of a CRL.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError

from authz.blocking_calls import run_in_daemon_thread
from authz.crls.disk_store import TEMPORARY
from authz.crls.failures import FailureKind, FetchFailed, Row, raised_as
from authz.crls.fetch.address_rules import AddressNotAllowed, AddressRules, HostRules
from authz.crls.fetch.crl_file import NotACrl, into_der
from authz.crls.fetch.transfer_quota import Claim, TransferQuota
from authz.crls.fetch.url import Target, parse_url
from authz.errors import ConfigError

MAX_VALIDATOR: Final = 512
"""Characters of an ETag or date that is sent back; the longest seen in use are a tenth of it."""

BATCH: Final = 256 * 1024
"""Bytes gathered before they are written: what is held in memory of a body."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host (for a port), in the order to try; raises `OSError` when there are none."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server gave to ask it later whether anything changed (RFC 9110 section 8.8), as it gave it."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Seconds in all, to connect (the TLS handshake included), and of silence; bytes of a body, and of all at a time.

    The largest CRLs in public use have some ten million bytes; a million entries have forty million. What each
    of those under way may have of `together`: see `TransferQuota`.
    """

    total: float = 60.0
    connect: float = 5.0
    read: float = 10.0
    size: int = 128 * 1024 * 1024
    together: int = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class NotModified:
    """The server says that what the validators stand for is current; `validators` are for the next time."""

    validators: Validators


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body: at `path` in DER, `size` bytes, `sha256` of them (32 bytes); `validators` are for the next time."""

    path: Path
    size: int
    sha256: bytes
    validators: Validators


async def system_resolve(host: str, port: int) -> list[str]:
    """The addresses that the system gives, each once. Raises `OSError`.

    In a thread of its own: a certificate may name hosts whose name servers never answer.
    """
    try:
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        rows = await run_in_daemon_thread(look_up, "look-up of a name")
    except UnicodeError as error:
        raise OSError(str(error)) from error
    return list(dict.fromkeys(str(address[0]) for *_, address in rows))


class Fetcher:
    """Fetches CRLs; to be made and used inside one event loop.

    `ca_file` (PEM) takes the place of the system's trusted roots. Raises `ConfigError` when it cannot be read.
    """

    def __init__(
        self,
        *,
        addresses: AddressRules | None = None,
        hosts: HostRules | None = None,
        limits: FetchLimits | None = None,
        ca_file: Path | None = None,
        resolve: Resolve = system_resolve,
    ) -> None:
        self._addresses = addresses or AddressRules()
        self._hosts = hosts or HostRules()
        self.limits = limits or FetchLimits()
        self._resolve = resolve
        self._tls: ssl.SSLContext | None = None
        try:
            if ca_file is not None:
                self._tls = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ConfigError(
                f"the CA certificates in {ca_file} cannot be read: {error.strerror or error}", hint="give a PEM file"
            ) from error
        self._quota = TransferQuota(self.limits.together)

    @contextlib.asynccontextmanager
    async def fetch(
        self, url: str, into: Path, validators: Validators | None = None, claim: Claim | None = None
    ) -> AsyncIterator[Fetched | NotModified]:
        """The body at `url`, in a new file in the folder `into`, or that it has not changed since `validators`.

        The file goes with the block: copy what should stay. Without a `claim` the URL is a party of its own.
        Raises `FetchFailed`.
        """
        with contextlib.ExitStack() as files:
            yield await self._transfer(url, into, validators or Validators(), claim or Claim(url), files)

    async def _transfer(
        self, url: str, into: Path, validators: Validators, claim: Claim, files: contextlib.ExitStack
    ) -> Fetched | NotModified:
        with raised_as(_FAILURES):
            target = parse_url(url)
            with raised_as(_HOST_NOT_ALLOWED):
                self._hosts.check(target.host)
            conditions = _conditions(validators)
            async with asyncio.timeout(self.limits.total):
                addresses = await self._addresses_of(target)
                async with self._answer(target.url, addresses, conditions) as answer:
                    return await self._received(answer, into, claim, files, asked=bool(conditions))

    async def _addresses_of(self, target: Target) -> list[str]:
        """Looked up once, each checked: one that is not allowed speaks against all."""
        try:
            addresses = [target.host] if target.is_address else await self._resolve(target.host, target.port)
        except OSError as error:
            raise FetchFailed(FailureKind.DNS, f"{target.host}: {error.strerror or error}") from error
        if not addresses:
            raise FetchFailed(FailureKind.DNS, f"{target.host} has no address")
        with raised_as(_ADDRESS_NOT_ALLOWED):
            for address in addresses:
                self._addresses.check(address)
        return addresses

    def _context(self) -> ssl.SSLContext:
        """The system's trusted roots take 20 ms to read, and most CRLs come by http: they are read when needed."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    @contextlib.asynccontextmanager
    async def _answer(
        self, url: yarl.URL, addresses: list[str], conditions: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer's header, its body still to come. Nothing is kept for the next time: no connection, no cookie."""
        limits = self.limits
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(addresses),
            use_dns_cache=False,
            force_close=True,
            ssl=self._context() if url.scheme == "https" else True,
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(connect=limits.connect, sock_read=limits.read),
                headers={"User-Agent": "mtls-authz", "Accept": "application/pkix-crl, */*"},
            ) as session,
            session.get(url, allow_redirects=False, headers={"Accept-Encoding": "identity", **conditions}) as answer,
        ):
            yield answer

    async def _received(
        self, answer: aiohttp.ClientResponse, into: Path, claim: Claim, files: contextlib.ExitStack, *, asked: bool
    ) -> Fetched | NotModified:
        validators = Validators(_sane(answer.headers.get("ETag")), _sane(answer.headers.get("Last-Modified")))
        if answer.status == 304 and asked:
            return NotModified(validators)
        _check_header(answer, self.limits.size)
        with raised_as(_FAILURES_OF_STORAGE):
            path = _new_file(into)
        files.callback(self._remove, path)
        await _stream(answer, path, self.limits.size, lambda size: self._quota.grow(path, size, claim))
        with raised_as(_FAILURES_OF_STORAGE):
            size, sha256 = await asyncio.to_thread(into_der, path)
        return Fetched(path, size, sha256, validators)

    def _remove(self, path: Path) -> None:
        self._quota.remove(path)
        with contextlib.suppress(OSError):
            path.unlink()


class _Pinned(AbstractResolver):
    """Answers with the addresses that were checked, whatever the DNS says by now."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the interface is theirs
    ) -> list[ResolveResult]:
        """See the base class; every family that there is."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


def _conditions(validators: Validators) -> dict[str, str]:
    """RFC 9110 section 13.1: the header of a conditional request, of what may be sent back."""
    headers = {"If-None-Match": _sane(validators.etag), "If-Modified-Since": _sane(validators.last_modified)}
    return {name: value for name, value in headers.items() if value is not None}


def _sane(value: str | None) -> str | None:
    """A validator that may be kept and sent: short, printable ASCII. Any other is ignored."""
    if not value or len(value) > MAX_VALIDATOR or not value.isascii() or not value.isprintable():
        return None
    return value


_NO_ENCODING: Final = frozenset({"", "identity", "none"})
"""What servers say of a body as it is (RFC 9110 section 8.4 has nothing said then)."""


def _check_header(answer: aiohttp.ClientResponse, limit: int) -> None:
    """Whether a body of this answer is wanted."""
    if 300 <= answer.status < 400 and answer.status != 304:
        target = answer.headers.get("Location", "nowhere")
        raise FetchFailed(
            FailureKind.REDIRECT, f"{answer.status}, not followed (crl.urls can name its target): {target}"
        )
    if answer.status != 200:
        raise FetchFailed(FailureKind.STATUS, f"{answer.status} {answer.reason or ''}")
    encoding = answer.headers.get("Content-Encoding", "").strip()
    if encoding.lower() not in _NO_ENCODING:
        raise FetchFailed(FailureKind.ENCODING, encoding)
    if (answer.content_length or 0) > limit:
        raise FetchFailed(FailureKind.TOO_LARGE, f"{answer.content_length} bytes, and {limit} are allowed")


async def _stream(answer: aiohttp.ClientResponse, path: Path, limit: int, grow: Callable[[int], None]) -> None:
    """The body, into the file; each piece is written by opening it anew, so that none is left open in a thread."""
    size, batch = 0, bytearray()
    with raised_as(_FAILURES_OF_BODY):
        async for piece in answer.content.iter_any():
            size += len(piece)
            if size > limit:
                raise FetchFailed(FailureKind.TOO_LARGE, f"more than {limit} bytes")
            grow(size)
            batch += piece
            if len(batch) >= BATCH:
                await asyncio.to_thread(_append, path, bytes(batch))
                batch.clear()
    if not size:
        raise FetchFailed(FailureKind.EMPTY, "no body")
    await asyncio.to_thread(_append, path, bytes(batch))


def _new_file(folder: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
    os.close(descriptor)
    return Path(name)


def _append(path: Path, data: bytes) -> None:
    """Not to a file that was removed: then the fetch was given up."""
    with raised_as(_FAILURES_OF_STORAGE), path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(data)


# What the client and the system raise, as what it means; the first row that fits counts.
_HOST_NOT_ALLOWED: Final = (((AddressNotAllowed,), FailureKind.HOST_NOT_ALLOWED),)
_ADDRESS_NOT_ALLOWED: Final = (((AddressNotAllowed,), FailureKind.ADDRESS_NOT_ALLOWED),)
_FAILURES: Final[tuple[Row, ...]] = (
    ((TimeoutError,), FailureKind.TIMEOUT),
    ((aiohttp.ClientSSLError, ssl.SSLError), FailureKind.TLS),
    ((aiohttp.ClientConnectorError,), FailureKind.CONNECT),
    ((aiohttp.ClientConnectionError, OSError), FailureKind.RESET),
    ((aiohttp.ClientError, HttpProcessingError), FailureKind.PROTOCOL),
)
_FAILURES_OF_BODY: Final[tuple[Row, ...]] = (
    ((TimeoutError,), FailureKind.TIMEOUT),
    ((aiohttp.ClientError, HttpProcessingError, OSError), FailureKind.TRUNCATED),
)
_FAILURES_OF_STORAGE: Final[tuple[Row, ...]] = (
    ((NotACrl,), FailureKind.NOT_A_CRL),
    ((OSError,), FailureKind.STORAGE),
)
