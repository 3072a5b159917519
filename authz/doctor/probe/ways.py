"""Ways that the probes over HTTP/1 do not take: HTTP/2, early data, and the ports behind the proxy."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from authz.doctor.probe.cast import Cast
from authz.doctor.probe.dialing import ANSWER_SECONDS, Dialer, Shown
from authz.doctor.probe.run import Lookup, Result, Verdict

_PROGRAM_SECONDS: Final = 15
"""How long curl or openssl may take."""

_EARLY: Final = re.compile(r"Max Early Data: (\d+)")


def other_ways(
    dialer: Dialer, cast: Cast, lookup: Lookup, applications: Sequence[str], services: Sequence[str]
) -> Iterator[Result]:
    """What the other ways show."""
    yield http2(dialer, cast, lookup)
    yield early_data(dialer)
    yield from map(application, applications)
    yield from map(service, services)


HTTP2: Final = "HTTP/2 without one's certificate"


def http2(dialer: Dialer, cast: Cast, lookup: Lookup) -> Result:
    """Whether HTTP/2 gets a token through without its certificate, by curl: it is no part of Python."""
    try:
        if dialer.alpn("h2", "http/1.1") != "h2":
            return Result(HTTP2, Verdict.HELD, "the proxy speaks no HTTP/2")
    except OSError as error:
        return Result(HTTP2, Verdict.NOT_PROVEN, f"no handshake: {type(error).__name__}")
    if cast.token is None or cast.good is None or shutil.which("curl") is None:
        return Result(HTTP2, Verdict.NOT_PROVEN, "there is no curl, no token, or no certificate")
    honest = _curl(dialer, cast.token, cast.good)
    if not honest.served:
        return Result(HTTP2, Verdict.NOT_PROVEN, f"an honest client of curl gets {honest.status}")
    shown = (None,) if cast.other is None else (None, cast.other)
    return _http2([_curl(dialer, cast.token, each) for each in shown], lookup)


class _Curled(NamedTuple):
    """What curl says of an answer."""

    version: str = ""
    status: int = 0
    decision_id: str = ""

    @property
    def served(self) -> bool:
        return self.version == "2" and 200 <= self.status < 400


def _http2(dishonest: list[_Curled], lookup: Lookup) -> Result:
    for each in dishonest:
        if each.served:
            return Result(HTTP2, Verdict.WAY_ROUND, f"GET: {each.status}")
    reasons = lookup({each.decision_id for each in dishonest} - {""})
    if any(each.decision_id not in reasons for each in dishonest):
        return Result(HTTP2, Verdict.NOT_PROVEN, "refused, and no such decision in the history")
    return Result(HTTP2, Verdict.HELD, f"refused: {', '.join(sorted(set(reasons.values())))}")


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
    done = _run([*words, "--write-out", shape, "--config", "-"], "\n".join(lines))
    version, status, decision_id = (*done.split(" "), "", "", "")[:3]
    return _Curled(version, int(status) if status.isdecimal() else 0, decision_id)


def _quoted(value: str) -> str:
    """As curl's configuration has it (curl(1), --config)."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def early_data(dialer: Dialer) -> Result:
    """Whether sessions allow early data, which can be replayed (RFC 8446 section 8), by openssl's tickets."""
    what = "early data"
    if shutil.which("openssl") is None:
        return Result(what, Verdict.NOT_PROVEN, "there is no openssl, and Python cannot send it")
    dialer.take()
    target = dialer.target
    host, port = target.place
    words = ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", target.host, "-tls1_3", "-ign_eof"]
    # Tickets come after the handshake; an answer comes after them.
    said = _run(words, f"GET {target.path} HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\n\r\n")
    sizes = [int(size) for size in _EARLY.findall(said)]
    if any(sizes):
        return Result(what, Verdict.WAY_ROUND, f"sessions allow {max(sizes)} bytes of it")
    if sizes:
        return Result(what, Verdict.HELD, "sessions allow none")
    if "Cipher is" in said and "TLSv1.3" in said:
        return Result(what, Verdict.HELD, "the proxy hands out no session")
    return Result(what, Verdict.NOT_PROVEN, "no handshake of TLS 1.3")


def _run(words: list[str], text: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - programs that we found, and no word that a stranger chose
            words, input=text.encode(), capture_output=True, timeout=_PROGRAM_SECONDS, check=False
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
