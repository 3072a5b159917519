"""Mutual TLS between proxy and service: who may ask, where the network is not the machine's own.

A proxy's certificate must verify to the operator's CA and carry an allowed DNS or URI name (RFC 6125
section 6.4: exactly, no wildcard, never the common name); else the handshake fails, and no request is read.
The files are looked at for each new connection, so that a certificate is renewed, and a CA exchanged,
without a restart.

A handshake says what holds at its moment. So the chain that verified then stands for the connection only until the
first certificate on it expires, and while the CA that it ends at is in the file: each request is compared with both,
and a connection that has lost either is cut unanswered, for the proxy to connect anew. OpenSSL resumes sessions of
TLS 1.2 by their ID, and verifies nothing then: what verified the leaf before is compared in its place.
"""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from aiohttp import web
from cryptography import x509

from authz.errors import ConfigError, Refused
from authz.pki import Certificate
from authz.text import shown
from authz.web.server import Handler

HANDSHAKE_SECONDS = 5.0
"""How long a handshake may take: a proxy's takes milliseconds."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2, which Envoy speaks here unless told otherwise: forward secrecy and AEAD (RFC 9325 section 4.2)."""

MAX_SHOWN = 4
"""Names of a refused proxy that are told."""

LOOK_SECONDS: Final = 0.5
"""How often the files are looked at for connections that are open: what a change must hold within is a second."""

MAX_STANDINGS: Final = 1_000
"""Proxies' certificates of which it is remembered what verified them; the one verified first goes first.

A session lives for two hours at most (OpenSSL's own bound), so it takes that many certificates in two hours.
"""

Told = Callable[[str], None]
"""Is told, in a sentence, of something that the operator may have to mend."""

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the service's certificate (its chain behind it) and key, and the CAs of the proxies."""

    certificate: Path
    key: Path
    client_ca: Path

    def stamp(self) -> Stamp:
        """What changes when one of the files does. Raises `OSError`."""
        found = [one.stat() for one in (self.certificate, self.key, self.client_ca)]
        return tuple((one.st_ino, one.st_ctime_ns, one.st_size) for one in found)

    def context(self) -> _Context:
        """A server's context of these files. Raises `OSError`, `ssl.SSLError` among them, and `ValueError`."""
        made = _Context(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers(CIPHERS)
        made.set_alpn_protocols(["http/1.1"])
        # What a ticket resumes is known to its holder alone: no context that is made anew forgets it.
        made.num_tickets = 0
        made.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_cert_chain(self.certificate, self.key, password=_no_password)
        made.load_verify_locations(self.client_ca)
        made.anchors = frozenset(made.get_ca_certs(binary_form=True))
        return made


class Standing(NamedTuple):
    """What a proxy's certificate counts by: the CA (DER) its chain ends at, and when the first one on it expires."""

    anchor: bytes
    until: datetime

    def problem(self, anchors: frozenset[bytes], now: datetime) -> str:
        """Why it counts no longer among the CAs of the file, empty while it does."""
        if self.anchor not in anchors:
            return "the proxy's CA is no longer in the file"
        if now > self.until:
            return f"the proxy's chain has expired on {self.until:%Y-%m-%d %H:%M:%SZ}"
        return ""


class ReloadingContext(ssl.SSLContext):
    """A server's context that is made anew when its files change; files that cannot be used leave the last good one.

    `names` are those of which a proxy must carry one. `refused` is told of each proxy that is turned away, `warn`
    of files that cannot be used; `now` is the clock. Raises `ConfigError` when they cannot be used at the start.
    """

    def __new__(cls, *_args: object, **_options: object) -> Self:
        """A context has its protocol from birth."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(
        self,
        files: TlsFiles,
        names: frozenset[str],
        *,
        refused: Told,
        warn: Told,
        now: Callable[[], datetime],
    ) -> None:
        self._files = files
        self._names = names
        self._refused = refused
        self._warn = warn
        self._now = now
        self._looked = 0.0
        try:
            self._stamp: Stamp | None = files.stamp()
            self._current = self._made()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the listener's TLS files cannot be used: {error}",
                hint=f"look at {files.certificate}, {files.key} and {files.client_ca}: PEM, and the key not encrypted",
            ) from error

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """One connection's TLS, with the files as they are now; event loops call this for each."""
        self._refresh()
        return self._current.wrap_bio(*args, **options)

    def guarded(self, handler: Handler) -> Handler:
        """`handler`, for requests on connections whose proxy is still one that may ask."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            transport = request.transport
            if transport is not None:
                problem = self._problem(transport.get_extra_info("ssl_object"))
                if not problem:
                    return await handler(request)
                self._refused(problem)
                transport.abort()
            # Which nobody gets: both Envoy and nginx ask again, on a connection that is new.
            return web.Response(status=503)

        return answer

    def _problem(self, proxy: object) -> str:
        """Why the proxy at the other end of a connection may ask no longer, empty while it may."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._refresh()
        if not isinstance(proxy, _Proxy) or proxy.standing is None:
            return "the connection is no proxy's"
        return proxy.standing.problem(self._current.anchors, self._now())

    def _made(self) -> _Context:
        made = self._files.context()
        made.names, made.refused = self._names, self._refused
        return made

    def _refresh(self) -> None:
        self._looked = time.monotonic()
        stamp: Stamp | None = None
        try:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return
            self._current = self._made()
        except (OSError, ValueError) as error:
            if stamp is None and self._stamp is None:
                return
            self._warn(f"the listener's TLS files changed and cannot be used, the last good ones stay: {error}")
        self._stamp = stamp


class _Proxy(ssl.SSLObject):
    """The server's end of one connection, whose handshake is complete only with a proxy that is allowed."""

    context: _Context
    standing: Standing | None = None

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
            # The name first: certificates that are not allowed must not drive out what is remembered of those that are.
            self._check_name(Certificate.parse(leaf).san_names)
            self.standing = (
                self.context.resumed(leaf) if self.session_reused else self.context.verified(leaf, self._chain())
            )
        except (Refused, ValueError) as error:
            raise ssl.SSLError(f"the proxy's certificate cannot be read: {error}") from error

    def _chain(self) -> list[bytes]:
        """The chain that OpenSSL verified, leaf first and anchor last, in DER."""
        if sys.version_info >= (3, 13):
            return self.get_verified_chain()
        # What the method of later versions calls.
        return [one.public_bytes(_DER) for one in self._sslobj.get_verified_chain()]  # type: ignore[attr-defined]

    def _check_name(self, found: frozenset[str]) -> None:
        """Raises `ssl.SSLError`."""
        if self.context.names.isdisjoint(found):
            listed = ", ".join(map(shown, sorted(found)[:MAX_SHOWN])) or "none"
            raise ssl.SSLError(f"the proxy's certificate carries no allowed name, but: {listed}")


class _Context(ssl.SSLContext):
    """What each connection's end needs to know."""

    names: frozenset[str] = frozenset()
    anchors: frozenset[bytes] = frozenset()
    refused: Told
    sslobject_class = _Proxy

    def __init__(self, _protocol: int) -> None:
        self._standings: dict[bytes, Standing] = {}

    def verified(self, leaf: bytes, chain: list[bytes]) -> Standing:
        """What a chain that was verified just now gives its leaf (DER). Raises `ValueError` where it cannot be read.

        It is remembered for what resumes a session of the leaf; the last chain that verified counts for all of them.
        """
        made = Standing(chain[-1], min(x509.load_der_x509_certificate(one).not_valid_after_utc for one in chain))
        self._standings.pop(leaf, None)
        self._standings[leaf] = made
        if len(self._standings) > MAX_STANDINGS:
            del self._standings[next(iter(self._standings))]
        return made

    def resumed(self, leaf: bytes) -> Standing:
        """What a leaf (DER) was given whose session is resumed. Raises `ValueError` where it is not remembered."""
        held = self._standings.get(leaf)
        if held is None:
            raise ValueError("what verified it before was forgotten")
        return held


_DER: Final = 2
"""ENCODING_DER of Python's _ssl."""


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")
