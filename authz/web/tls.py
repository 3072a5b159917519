"""Mutual TLS between proxy and service: which proxies may ask, where others share the network.

A proxy's certificate must verify to the operator's CA and carry an allowed DNS or URI name (RFC 6125
section 6.4: exactly, no wildcard, never the common name); else the handshake fails, and no request is read.
The files are checked for changes at each new connection, so that a certificate is renewed, and a CA exchanged,
without a restart.

A handshake proves what holds at its moment. So the chain that verified then authenticates the connection only until
the first certificate on it expires, and while the CA that it ends at is in the file: each request is compared with
both, and a connection that has lost either is cut unanswered, for the proxy to connect anew. OpenSSL resumes sessions
of TLS 1.2 by their ID, and verifies nothing then: the chain that verified the leaf before is compared in its place.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from aiohttp import web

from authz.errors import ConfigError, Refused
from authz.pki import Certificate
from authz.text import shown
from authz.web.server import Handler

HANDSHAKE_SECONDS: Final = 5.0
"""How long a handshake may take: a proxy's takes milliseconds."""

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2, which Envoy uses here by default: forward secrecy and AEAD (RFC 9325 section 4.2)."""

MAX_SHOWN: Final = 4
"""Names of a refused proxy that are logged."""

RELOAD_SECONDS: Final = 0.5
"""How often the files are checked for connections that are open: a change must hold within a second."""

MAX_AUTHENTICATIONS: Final = 1_000
"""Proxies' certificates for which is cached what verified them; the one verified first is evicted first.

A session lives for two hours at most (OpenSSL's own bound), so it takes that many certificates in two hours.
"""

Report = Callable[[str], None]
"""Logs a sentence about something that the operator may have to correct."""

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the service's certificate (its chain behind it) and key, and the CAs of the proxies."""

    certificate: Path
    key: Path
    client_ca: Path

    def stamp(self) -> Stamp:
        """A value that changes when one of the files does. Raises `OSError`."""
        states = [path.stat() for path in (self.certificate, self.key, self.client_ca)]
        return tuple((state.st_ino, state.st_ctime_ns, state.st_size) for state in states)

    def context(self) -> _Context:
        """A server's context of these files. Raises `OSError`, `ssl.SSLError` among them, and `ValueError`."""
        context = _Context(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        # A ticket's state is held by the client alone: a context that is made anew would not forget it.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.certificate, self.key, password=_no_password)
        context.load_verify_locations(self.client_ca)
        context.anchors = frozenset(context.get_ca_certs(binary_form=True))
        return context


class Authentication(NamedTuple):
    """What authenticates a proxy: the CA (DER) that its chain ends at, and when the first certificate on it expires."""

    anchor: bytes
    until: datetime

    def problem(self, anchors: frozenset[bytes], now: datetime) -> str:
        """Why it no longer holds, given the CAs of the file; empty while it holds."""
        if self.anchor not in anchors:
            return "the proxy's CA is no longer in the file"
        if now > self.until:
            return f"the proxy's chain has expired on {self.until:%Y-%m-%d %H:%M:%SZ}"
        return ""


class ReloadingContext(ssl.SSLContext):
    """A server's context that is made anew when its files change; files that cannot be used leave the last good one.

    A proxy's certificate must carry one of `names`. `refused` reports each proxy that is refused, `warn` files that
    cannot be used; `now` is the clock. Raises `ConfigError` when they cannot be used at the start.
    """

    def __new__(cls, *_args: object, **_options: object) -> Self:
        """A context is created with its protocol."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(
        self, files: TlsFiles, names: frozenset[str], *, refused: Report, warn: Report, now: Callable[[], datetime]
    ) -> None:
        self._files = files
        self._names = names
        self._refused = refused
        self._warn = warn
        self._now = now
        self._checked_at = 0.0
        try:
            self._stamp: Stamp | None = files.stamp()
            self._current = self._new_context()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the listener's TLS files cannot be used: {error}",
                hint=f"check {files.certificate}, {files.key} and {files.client_ca}: PEM, and the key not encrypted",
            ) from error

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """One connection's TLS, with the files as they are now; event loops call this for each connection."""
        self._refresh()
        return self._current.wrap_bio(*args, **options)

    def guarded(self, handler: Handler) -> Handler:
        """`handler`, for requests on connections whose proxy is still one that may ask."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            transport = request.transport
            if transport is not None:
                if self.admits(transport.get_extra_info("ssl_object")):
                    return await handler(request)
                transport.abort()
            # It is not sent: both Envoy and nginx ask again, on a new connection.
            return web.Response(status=503)

        return answer

    def admits(self, proxy: object) -> bool:
        """Whether the proxy at the other end of a connection may still ask; that it may not is reported."""
        problem = self._problem(proxy)
        if problem:
            self._refused(problem)
        return not problem

    def allows(self, connection: asyncio.BaseTransport) -> bool:
        """Whether the proxy of a connection is still one that may ask."""
        return not self._problem(connection.get_extra_info("ssl_object"))

    def _problem(self, proxy: object) -> str:
        """Why the proxy at the other end of a connection may no longer ask, empty while it may."""
        if time.monotonic() - self._checked_at > RELOAD_SECONDS:
            self._refresh()
        if not isinstance(proxy, _Proxy) or proxy.authentication is None:
            return "the connection is no proxy's"
        return proxy.authentication.problem(self._current.anchors, self._now())

    def _new_context(self) -> _Context:
        context = self._files.context()
        context.names, context.refused = self._names, self._refused
        return context

    def _refresh(self) -> None:
        self._checked_at = time.monotonic()
        stamp: Stamp | None = None
        try:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return
            self._current = self._new_context()
        except (OSError, ValueError) as error:
            if stamp is None and self._stamp is None:
                return
            self._warn(f"the listener's TLS files changed and cannot be used, the last good ones stay: {error}")
        self._stamp = stamp


class _Proxy(ssl.SSLObject):
    """The server's end of one connection, whose handshake is complete only with a proxy that is allowed."""

    context: _Context
    authentication: Authentication | None = None

    def do_handshake(self) -> None:
        """Raises `ssl.SSLError`."""
        try:
            super().do_handshake()
            self._check()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):  # nothing is decided yet
            raise
        except ssl.SSLError as error:
            self.context.refused(shown(str(error.args[-1])))
            raise

    def _check(self) -> None:
        """Raises `ssl.SSLError`."""
        leaf = self.getpeercert(binary_form=True) or b""
        try:
            # The name first: certificates that are not allowed must not drive out authentications of those that are.
            self._check_name(Certificate.parse(leaf).san_names)
            self.authentication = (
                self.context.resumed(leaf) if self.session_reused else self.context.verified(leaf, self._chain())
            )
        except (Refused, ValueError) as error:
            raise ssl.SSLError(f"the proxy's certificate cannot be read: {error}") from error

    def _chain(self) -> list[bytes]:
        """The chain that OpenSSL verified, leaf first and anchor last, in DER."""
        if sys.version_info >= (3, 13):
            return self.get_verified_chain()
        # Later versions have a public method for this.
        return [certificate.public_bytes(_DER) for certificate in self._sslobj.get_verified_chain()]  # type: ignore[attr-defined]

    def _check_name(self, names: frozenset[str]) -> None:
        """Raises `ssl.SSLError`."""
        if self.context.names.isdisjoint(names):
            listed = ", ".join(map(shown, sorted(names)[:MAX_SHOWN])) or "none"
            raise ssl.SSLError(f"the proxy's certificate carries no allowed name, but: {listed}")


class _Context(ssl.SSLContext):
    """What each connection's end needs to know."""

    names: frozenset[str] = frozenset()
    anchors: frozenset[bytes] = frozenset()
    refused: Report
    sslobject_class = _Proxy

    def __init__(self, _protocol: int) -> None:
        self._authentications: dict[bytes, Authentication] = {}

    def verified(self, leaf: bytes, chain: list[bytes]) -> Authentication:
        """Authenticate a leaf (DER) by the chain that was just verified. Raises `ValueError` where it cannot be read.

        It is cached for resumed sessions of the leaf; the last chain that verified counts for all of them.
        """
        until = min(Certificate.parse(certificate).not_after for certificate in chain)
        authentication = Authentication(chain[-1], until)
        self._authentications.pop(leaf, None)
        self._authentications[leaf] = authentication
        if len(self._authentications) > MAX_AUTHENTICATIONS:
            del self._authentications[next(iter(self._authentications))]
        return authentication

    def resumed(self, leaf: bytes) -> Authentication:
        """The authentication of a leaf (DER) whose session is resumed. Raises `ValueError` where it is not cached."""
        authentication = self._authentications.get(leaf)
        if authentication is None:
            raise ValueError("the chain of the resumed session is no longer cached")
        return authentication


_DER: Final = 2
"""ENCODING_DER of Python's _ssl."""


def _no_password() -> str:
    """Without this, OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")
