"""Ways that the probes over HTTP/1 do not take: HTTP/2, early data, and the ports behind the proxy."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from authz.doctor.probe.clients import Clients
from authz.doctor.probe.dialing import ANSWER_SECONDS, Dialer, Question, Shown
from authz.doctor.probe.probes import is_redirect
from authz.doctor.probe.run import Lookup, Result, Verdict

_PROGRAM_SECONDS: Final = 15
"""How long curl or openssl may take."""

EARLY_DATA: Final = "early data"

_APPLICATION_DATA: Final = 23

_EARLY: Final = re.compile(r"Max Early Data: (\d+)")
_STATUS: Final = re.compile(r"HTTP/1\.[01] (\d{3})")


def other_ways(
    dialer: Dialer, clients: Clients, lookup: Lookup, applications: Sequence[str], services: Sequence[str]
) -> Iterator[Result]:
    """What the other ways show."""
    yield http2(dialer, clients, lookup)
    yield early_data(dialer, clients)
    yield from map(application, applications)
    yield from map(service, services)


HTTP2: Final = "HTTP/2 without one's certificate"


def http2(dialer: Dialer, clients: Clients, lookup: Lookup) -> Result:
    """Whether HTTP/2 gets a token through without its certificate, by curl: it is no part of Python."""
    try:
        if dialer.alpn("h2", "http/1.1") != "h2":
            return Result(HTTP2, Verdict.HELD, "the proxy speaks no HTTP/2")
    except OSError as error:
        return Result(HTTP2, Verdict.NOT_PROVEN, f"no handshake: {type(error).__name__}")
    if clients.token is None or clients.good is None or shutil.which("curl") is None:
        return Result(HTTP2, Verdict.NOT_PROVEN, "there is no curl, no token, or no certificate")
    honest = _curl(dialer, clients.token, clients.good)
    if not honest.served:
        return Result(HTTP2, Verdict.NOT_PROVEN, f"an honest client of curl gets {honest.status}")
    shown = (None,) if clients.other is None else (None, clients.other)
    echo = dialer.ask(Question(clients.good, clients.token)).received is not None
    return _http2([_curl(dialer, clients.token, each) for each in shown], lookup, echo=echo)


class _Curled(NamedTuple):
    """What curl says of an answer."""

    version: str = ""
    status: int = 0
    decision_id: str = ""

    @property
    def served(self) -> bool:
        return self.version == "2" and 200 <= self.status < 400


def _http2(dishonest: list[_Curled], lookup: Lookup, *, echo: bool) -> Result:
    for each in dishonest:
        if each.served and not (echo and is_redirect(each.status)):
            return Result(HTTP2, Verdict.WAY_ROUND, f"GET: {each.status}")
    reasons = lookup({each.decision_id for each in dishonest} - {""})
    asked = [each for each in dishonest if each.decision_id or not (echo and each.status)]
    if any(each.decision_id not in reasons for each in asked):
        return Result(HTTP2, Verdict.NOT_PROVEN, "refused, and no such decision in the history")
    words = sorted({reasons.get(each.decision_id, f"the proxy: {each.status}") for each in dishonest})
    return Result(HTTP2, Verdict.HELD, f"refused: {', '.join(words)}")


def _curl(dialer: Dialer, token: str, shows: Shown | None) -> _Curled:
    """One GET; the token is not among the words of the call, which others can read."""
    dialer.take()
    target = dialer.target
    host, port = target.place
    options: list[tuple[str, object]] = [
        ("url", f"https://{target.host}:{target.port}{target.path}"),
        ("connect-to", f"{target.host}:{target.port}:{host}:{port}"),
        ("header", f"Authorization: Bearer {token}"),
        ("header", f"Host: {target.host}"),
    ]
    options += [] if target.roots is None else [("cacert", target.roots)]
    options += [] if shows is None else [("cert", shows.certificate), ("key", shows.key)]
    lines = [f"{name} = {_quoted(str(value))}" for name, value in options]
    words = ["curl", "-q", "--silent", "--http2", "--output", os.devnull, "--max-time", str(int(ANSWER_SECONDS))]
    shape = "%{http_version} %{http_code} %header{x-authz-decision-id}"
    done = _run([*words, "--write-out", shape, "--config", "-"], "\n".join(lines).encode())
    version, status, decision_id = (*done.split(" "), "", "", "")[:3]
    return _Curled(version, int(status) if status.isdecimal() else 0, decision_id)


def _quoted(value: str) -> str:
    """As curl's configuration has it (curl(1), --config)."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def early_data(dialer: Dialer, clients: Clients) -> Result:
    """Whether requests are served as early data, which can be replayed (RFC 8446 section 8), by openssl.

    Python cannot send it. An application that answers 425 wants the request again after the handshake (RFC 8470).
    """
    if shutil.which("openssl") is None:
        return Result(EARLY_DATA, Verdict.NOT_PROVEN, "there is no openssl, and Python cannot send it")
    request = dialer.request(Question(clients.good, clients.token, (("connection", "close"),)))
    with tempfile.TemporaryDirectory() as folder:
        session, early = Path(folder, "session"), Path(folder, "request")
        early.write_bytes(request)
        # Tickets come after the handshake; an answer comes after them.
        said = _s_client(dialer, clients.good, request, "-sess_out", str(session))
        if "TLSv1.3" not in said or not _STATUS.search(said):
            return Result(EARLY_DATA, Verdict.NOT_PROVEN, "no answer over TLS 1.3")
        if not session.exists():
            return Result(EARLY_DATA, Verdict.HELD, "no session is given out")
        # Not from what it said: there the answer may stand in the middle of any line.
        size = _EARLY.search(_run(["openssl", "sess_id", "-noout", "-text", "-in", str(session)], b""))
        if size is None or int(size[1]) == 0:
            return Result(EARLY_DATA, Verdict.NOT_PROVEN if size is None else Verdict.HELD, "sessions allow none")
        with _withholding(dialer.target.place) as port:
            words = ("-connect", f"127.0.0.1:{port}", "-sess_in", str(session), "-early_data", str(early))
            return _early_data(_s_client(dialer, clients.good, b"", *words), int(size[1]))


def _early_data(said: str, size: int) -> Result:
    """What a request shows whose handshake has not ended."""
    found = _STATUS.search(said) if "Early data was accepted" in said else None
    status = 0 if found is None else int(found[1])
    words = f"sessions allow {size} bytes of it; answered before the handshake ended: {status or 'no'}"
    if 200 <= status < 400:
        return Result(EARLY_DATA, Verdict.WAY_ROUND, words)
    return Result(EARLY_DATA, Verdict.HELD if status == HTTPStatus.TOO_EARLY else Verdict.NOT_PROVEN, words)


@contextlib.contextmanager
def _withholding(place: tuple[str, int]) -> Iterator[int]:
    """A port that leads to the proxy without the end of the handshake: one who replays early data cannot write that."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(ANSWER_SECONDS)
        threading.Thread(target=_relay, args=(listening, place), daemon=True).start()
        yield listening.getsockname()[1]


def _relay(listening: socket.socket, place: tuple[str, int]) -> None:
    with (
        contextlib.suppress(OSError),
        listening.accept()[0] as client,
        socket.create_connection(place, ANSWER_SECONDS) as proxy,
    ):
        client.settimeout(ANSWER_SECONDS)
        proxy.sendall(_first_flight(client))
        with contextlib.suppress(TimeoutError):
            while data := proxy.recv(65_536):
                client.sendall(data)
        # What is closed with something unread is reset, and the answer lost.
        client.shutdown(socket.SHUT_WR)
        while client.recv(65_536):
            pass


def _first_flight(client: socket.socket) -> bytes:
    """TLS records up to the first of early data (RFC 8446 section 5.1)."""
    with client.makefile("rb") as stream:
        flight = b""
        while head := stream.read(5):
            flight += head + stream.read(int.from_bytes(head[3:], "big"))
            if head[0] == _APPLICATION_DATA:
                break
        return flight


def _s_client(dialer: Dialer, shows: Shown | None, text: bytes, *options: str) -> str:
    dialer.take()
    target = dialer.target
    host, port = target.place
    words = ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", target.server_name or target.host]
    if shows is not None:
        words += ["-cert", str(shows.certificate), "-cert_chain", str(shows.certificate), "-key", str(shows.key)]
    return _run([*words, "-tls1_3", "-ign_eof", *options], text)


def _run(words: list[str], text: bytes) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - programs that we found, and no word that a stranger chose
            words, input=text, capture_output=True, timeout=_PROGRAM_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def plain_http(dialer: Dialer) -> bool:
    """Whether the proxy's port answers without TLS."""
    dialer.take()
    host, port = dialer.target.place
    return _alone("", host, port, dialer.target.path, tls=False).verdict is Verdict.WAY_ROUND


def application(url: str) -> Result:
    """Whether the application answers without the proxy."""
    parts = urllib.parse.urlsplit(url)
    tls = parts.scheme == "https"
    what = f"the application's own port ({parts.hostname}:{parts.port or (443 if tls else 80)})"
    return _alone(what, parts.hostname or "", parts.port or (443 if tls else 80), parts.path or "/", tls=tls)


def service(address: str) -> Result:
    """Whether the service answers everybody: over a port without TLS of both, or a socket that all may open."""
    what = f"the service's own port ({address})"
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        plain = _alone(what, host.strip("[]"), int(port), "/", tls=False)
        return plain if plain.verdict is Verdict.WAY_ROUND else _alone(what, host.strip("[]"), int(port), "/", tls=True)
    try:
        mode = Path(address.removeprefix("unix:")).stat().st_mode
    except OSError as error:
        return Result(what, Verdict.NOT_PROVEN, f"{type(error).__name__}")
    open_to_all = bool(mode & stat.S_IWOTH)
    return Result(what, Verdict.WAY_ROUND if open_to_all else Verdict.HELD, f"rights {mode & 0o777:04o}")


def _alone(what: str, host: str, port: int, path: str, *, tls: bool) -> Result:
    context = ssl.create_default_context()
    # Whose certificate it is does not matter here: an answer is one.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
        connection.connect()
        if tls:
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
        connection.request("GET", path)
        status = connection.getresponse().status
    except (socket.gaierror, TimeoutError) as error:
        # From elsewhere it may be another matter: what cannot be reached from here is not reached.
        return Result(what, Verdict.NOT_PROVEN, f"not reached from here: {type(error).__name__}")
    except (OSError, http.client.HTTPException) as error:
        return Result(what, Verdict.HELD, f"no answer without the proxy: {type(error).__name__}")
    finally:
        connection.close()
    return Result(what, Verdict.WAY_ROUND, f"answers without the proxy: {status}")
