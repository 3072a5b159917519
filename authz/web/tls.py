"""Mutual TLS between proxy and service: who may ask, where the network is not the machine's own.

A proxy's certificate must verify to the operator's CA and carry an allowed DNS or URI name (RFC 6125
section 6.4: exactly, no wildcard, never the common name); else the handshake fails, and no request is read.
The files are looked at for each new connection, so that a certificate is renewed, and a CA exchanged,
without a restart; connections that are open stay.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from authz.errors import ConfigError, Refused
from authz.pki import Certificate
from authz.text import shown

HANDSHAKE_SECONDS = 5.0
"""How long a handshake may take: a proxy's takes milliseconds."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2, which Envoy speaks here unless told otherwise: forward secrecy and AEAD (RFC 9325 section 4.2)."""

MAX_SHOWN = 4
"""Names of a refused proxy that are told."""

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
        # A session that is resumed was verified under the CAs, and at the time, of its first handshake.
        made.num_tickets = 0
        made.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_cert_chain(self.certificate, self.key, password=_no_password)
        made.load_verify_locations(self.client_ca)
        return made


class ReloadingContext(ssl.SSLContext):
    """A server's context that is made anew when its files change; files that cannot be used leave the last good one.

    `names` are those of which a proxy must carry one. `refused` is told of each proxy that is turned away, `warn`
    of files that cannot be used. Raises `ConfigError` when they cannot be used at the start.
    """

    def __new__(cls, *_args: object, **_options: object) -> Self:
        """A context has its protocol from birth."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, files: TlsFiles, names: frozenset[str], *, refused: Told, warn: Told) -> None:
        self._files = files
        self._names = names
        self._refused = refused
        self._warn = warn
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

    def _made(self) -> _Context:
        made = self._files.context()
        made.names, made.refused = self._names, self._refused
        return made

    def _refresh(self) -> None:
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

    def do_handshake(self) -> None:
        """Raises `ssl.SSLError`."""
        try:
            super().do_handshake()
            self._check_name()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):  # nothing is decided yet
            raise
        except ssl.SSLError as error:
            self.context.refused(shown(str(error.args[-1])))
            raise

    def _check_name(self) -> None:
        """Raises `ssl.SSLError`."""
        try:
            found = Certificate.parse(self.getpeercert(binary_form=True) or b"").san_names
        except Refused as refusal:
            raise ssl.SSLError(f"the proxy's certificate cannot be read: {refusal}") from refusal
        if self.context.names.isdisjoint(found):
            listed = ", ".join(map(shown, sorted(found)[:MAX_SHOWN])) or "none"
            raise ssl.SSLError(f"the proxy's certificate carries no allowed name, but: {listed}")


class _Context(ssl.SSLContext):
    """What each connection's end needs to know."""

    names: frozenset[str] = frozenset()
    refused: Told
    sslobject_class = _Proxy


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")
