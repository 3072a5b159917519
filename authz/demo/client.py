"""A TLS client that presents a certificate, or none, and distinguishes a response from an alert."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

TRIES = 5
"""Connections for one response: a reset that overtakes the proxy's alert is inconclusive."""


@dataclass(frozen=True)
class ClientResponse:
    """A status with headers and body, or the TLS alert that ended the connection."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    alert: str = ""

    @property
    def seen(self) -> dict[str, str]:
        """The headers that the application received, if the request reached it."""
        if self.status != 200:
            return {}
        return dict(json.loads(self.body)["headers"])


class Connection:
    """One TLS connection to the proxy, kept open for any number of requests."""

    def __init__(self, port: int, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", port), 15)
        # Otherwise the request waits 40 ms for the acknowledgement of the handshake's last flight.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = context.wrap_socket(plain, server_hostname="localhost", session=session)
        self._http = http.client.HTTPConnection(host, timeout=15)
        self._http.sock = self.tls
        self._host = host

    def get(self, path: str = "/", headers: Sequence[tuple[str, str]] = (), method: str = "GET") -> ClientResponse:
        """One request. Raises `OSError` when the connection ends without a response."""
        self._http.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for key, value in (("host", self._host), *headers):
            self._http.putheader(key, value)
        self._http.endheaders()
        response = self._http.getresponse()
        body = response.read()
        return ClientResponse(response.status, {key.lower(): value for key, value in response.getheaders()}, body)

    def close(self) -> None:
        """Close it."""
        self._http.close()


def client_context(roots: Path, certificate: Path | None) -> ssl.SSLContext:
    """A context that trusts `roots`, and presents the chain in `certificate` (its key beside it, `.key`)."""
    context = ssl.create_default_context(cafile=str(roots))
    if certificate is not None:
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context


def ask(
    port: int, context: ssl.SSLContext, host: str, headers: Sequence[tuple[str, str]] = (), path: str = "/"
) -> ClientResponse:
    """One request on a connection of its own; an alert is a response too.

    Raises `OSError` when the connection ends without either.
    """
    for _ in range(TRIES - 1):
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            return _ask(port, context, host, headers, path)
    return _ask(port, context, host, headers, path)


def _ask(
    port: int, context: ssl.SSLContext, host: str, headers: Sequence[tuple[str, str]], path: str
) -> ClientResponse:
    try:
        connection = Connection(port, context, host)
        try:
            return connection.get(path, headers)
        except ssl.SSLEOFError:
            # In TLS 1.3 the client writes before the refusal arrives (RFC 8446 section 4.4.2): the alert waits.
            connection.tls.recv(1)
            raise
        finally:
            connection.close()
    except ssl.SSLEOFError:
        raise
    except ssl.SSLError as error:
        return ClientResponse(alert=(error.reason or str(error)).lower().replace("_", " "))
