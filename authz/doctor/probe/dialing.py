"""One question over a TLS connection of its own, within bounds of number and rate, and what came back."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MOST_QUESTIONS: Final = 800
"""Connections of one run: room for some 220 questions, where a proxy resets each connection without a good certificate.

No two headers share a question: the refusal of one would hide that another gets through.
"""

A_SECOND: Final = 20.0
"""Questions a second: fewer than one browser asks while it loads a page."""

ANSWER_SECONDS: Final = 5.0
"""How long a handshake or an answer may take."""

MOST_BODY_BYTES: Final = 262_144
"""What is read of an answer: an echo of the largest headers is smaller."""

TRIES: Final = 4
"""Connections for one answer: a reset that overtakes the proxy's alert says nothing."""


UNDECIDED: Final = frozenset({502, 503, 504})
"""The proxy or the service could not answer just now: no refusal, and in no history."""

NO_SESSION: Final = "no session to resume"


class ProbesUsedUp(Exception):
    """More questions than `MOST_QUESTIONS`."""


@dataclass(frozen=True)
class Endpoint:
    """What the operator named: the proxy's host, where it is reached, the one path, and whose certificate it may have.

    `roots` is a PEM file; the system's are taken without.
    """

    host: str
    port: int
    path: str = "/"
    address: tuple[str, int] | None = None
    server_name: str = ""
    roots: Path | None = None

    @property
    def place(self) -> tuple[str, int]:
        """The host (name or IP address) and port to connect to."""
        return self.address or (self.host, self.port)


@dataclass(frozen=True)
class Shown:
    """A client's certificate chain in a PEM file, and its key's file."""

    certificate: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The leaf."""
        end = "-----END CERTIFICATE-----"
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text(encoding="ascii").partition(end)[0] + end + "\n")


Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Question:
    """A GET without a body. What is not given is as an honest client has it.

    `hosts` are the values of the Host headers. `resumes` is whose TLS session is taken up without showing anything.
    """

    shows: Shown | None = None
    token: str | None = None
    headers: Headers = ()
    target: str | None = None
    hosts: tuple[str, ...] | None = None
    server_name: str | None = None
    version: str = "HTTP/1.1"
    resumes: Shown | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether the proxy may lead it to another application than an honest client's."""
        return any(each is not None for each in (self.target, self.hosts, self.server_name))


@dataclass(frozen=True)
class Response:
    """A status with headers (names in lower case) and body, or how the connection ended instead."""

    status: int = 0
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)
    ended: str = ""

    @property
    def received(self) -> Headers | None:
        """The headers that an echoing application received; nothing if it is not such an application's answer."""
        if self.status != 200 or not self.body.startswith(b'{"headers"'):
            return None
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return tuple((str(name), str(value)) for name, value in json.loads(self.body)["headers"])
        return None

    def arrived(self, name: str) -> str:
        """What an echoing application received under a name, in order; empty if it was not reached."""
        return ",".join(value for key, value in self.received or () if key == name)

    @property
    def decision_id(self) -> str:
        """The id of the service's decision, in the header or the body; empty without."""
        for name, value in self.headers:
            if name == "x-authz-decision-id" and value:
                return value
        with contextlib.suppress(ValueError):
            body = json.loads(self.body)
            if isinstance(body, dict):
                return str(body.get("decision_id") or "")
        return ""


class Dialer:
    """Asks. Raises `ProbesUsedUp` from every method that asks once the bound is reached."""

    def __init__(
        self,
        target: Endpoint,
        *,
        a_second: float = A_SECOND,
        most: int = MOST_QUESTIONS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.target = target
        self._pause, self._left, self._sleep = 1 / a_second, most, sleep

    def take(self) -> None:
        """Count one question, and keep to the rate."""
        if self._left <= 0:
            raise ProbesUsedUp("the proxy resets so many connections that the bound of the probes is reached")
        self._left -= 1
        self._sleep(self._pause)

    def speaks_tls(self) -> bool:
        """Whether a handshake without a certificate ends well. Raises `ssl.SSLCertVerificationError`."""
        try:
            self._connect(Question(), self._context(None), None).close()
        except ssl.SSLCertVerificationError:
            raise
        except OSError:
            return False
        return True

    def alpn(self, *protocols: str) -> str | None:
        """The protocol that the proxy chooses of these, nothing if it chooses none. Raises `OSError`."""
        context = self._context(None)
        context.set_alpn_protocols(list(protocols))
        with contextlib.closing(self._connect(Question(), context, None)) as connection:
            return connection.selected_alpn_protocol()

    def ask(self, question: Question) -> Response:
        """The answer; an end without one is an answer without a status."""
        answer = Response()
        for _ in range(TRIES):
            answer = self._ask(question)
            if answer.ended != "reset" and answer.status not in UNDECIDED:
                break
        return answer

    def _ask(self, question: Question) -> Response:
        try:
            return self._answered(question)
        except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):
            return Response(ended="reset")
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            return Response(ended=(error.reason or str(error)).lower().replace("_", " "))
        except TimeoutError:
            return Response(ended="no answer in time")
        except (OSError, http.client.HTTPException) as error:
            return Response(ended=type(error).__name__)

    def _answered(self, question: Question) -> Response:
        # A session goes with its own context, which has a certificate loaded. It shows none when it resumes: there is
        # no place for one in that handshake (RFC 8446 section 2.2).
        context = self._context(question.resumes or question.shows)
        session = None if question.resumes is None else self._session(question, context)
        with contextlib.closing(self._connect(question, context, session)) as connection:
            if question.resumes is not None and not connection.session_reused:
                return Response(ended=NO_SESSION)
            connection.sendall(self.request(question))
            return _read(connection)

    def _session(self, question: Question, context: ssl.SSLContext) -> ssl.SSLSession | None:
        """The session of a connection that shows the certificate, after an answer: tickets come before it."""
        with contextlib.closing(self._connect(question, context, None)) as connection:
            connection.sendall(self.request(question))
            _read(connection)
            return connection.session

    def _connect(self, question: Question, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSocket:
        self.take()
        plain = socket.create_connection(self.target.place, ANSWER_SECONDS)
        # Or the request waits 40 ms for the acknowledgement of the handshake's last flight.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = question.server_name or self.target.server_name or self.target.host
        # Its chain is verified all the same.
        context.check_hostname = question.server_name is None
        return context.wrap_socket(plain, server_hostname=name, session=session)

    def _context(self, shows: Shown | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=None if self.target.roots is None else str(self.target.roots))
        if shows is not None:
            context.load_cert_chain(shows.certificate, shows.key)
        return context

    def request(self, question: Question) -> bytes:
        """As it is sent."""
        hosts = (self.target.host,) if question.hosts is None else question.hosts
        token = () if question.token is None else (("authorization", f"Bearer {question.token}"),)
        headers = (*(("host", host) for host in hosts), *token, *question.headers)
        lines = [f"GET {question.target or self.target.path} {question.version}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join((*lines, "", "")).encode("latin-1")


def _read(connection: ssl.SSLSocket) -> Response:
    with contextlib.closing(http.client.HTTPResponse(connection, method="GET")) as response:
        try:
            response.begin()
        except http.client.RemoteDisconnected:
            # In TLS 1.3 the client writes before it hears of the refusal (RFC 8446 section 4.4.2): the alert waits.
            connection.recv(1)
            raise
        headers = tuple((name.lower(), value) for name, value in response.getheaders())
        return Response(response.status, headers, response.read(MOST_BODY_BYTES))
