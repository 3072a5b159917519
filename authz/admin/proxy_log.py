"""Handshakes that the proxy refused, from its access log: no request of them reached the service.

The log is written by strangers, line for line: a line is bounded, as is what is kept of all of them, and a line that is
anything else is counted and nothing more.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import IO, Any, Final, NamedTuple

import orjson
import sqlalchemy as sa

from authz.directory.queries import named_registrations
from authz.directory.schema import last_seen, organizations, users

MAX_LINE: Final = 64 * 1024
"""Bytes of a line; a longer one is no line that the proxies of deploy/ write."""

MAX_OF_PIPE: Final = 1024 * 1024 * 1024
"""Bytes that are read of a pipe, which may have no end: some three million lines."""

MAX_KEPT: Final = 1_000
"""Different handshakes that are kept, those that came last."""

MAX_TEXT: Final = 300
"""Characters of a text of the log."""

MAX_OWNERS: Final = 5
"""Users of one certificate that are named."""


class RefusedHandshake(NamedTuple):
    """Handshakes with one certificate that were refused for one cause; `certificate` is None if there was none."""

    cause: str
    subject: str
    certificate: bytes | None
    remote: str
    first: str
    last: str
    times: int


class ProxyLog:
    """What a log says of refused handshakes; those of certificates beside `wanted`, if there are any, are left out.

    `unreadable` counts lines that are no access log of deploy/, `forgotten` the handshakes there was no room for, and
    `cut` is whether there was more than was to be read.
    """

    def __init__(self, wanted: Collection[bytes] | None = None) -> None:
        self.unreadable = self.forgotten = 0
        self.cut = False
        self._wanted = wanted
        self._kept: OrderedDict[tuple[str, bytes | None, str], RefusedHandshake] = OrderedDict()

    def read(self, file: IO[bytes], most: int | None = None) -> None:
        """Every line, one at a time, until `most` bytes were read."""
        whole, read = True, 0
        while line := file.readline(MAX_LINE):
            begins, whole = whole, line.endswith(b"\n") or len(line) < MAX_LINE
            if not whole and begins:
                self.unreadable += 1
            elif whole and begins and line.strip():
                self._line(line)
            read += len(line)
            if most is not None and read >= most:
                self.cut = True
                return

    def handshakes(self) -> list[RefusedHandshake]:
        """The one refused last at last."""
        return list(self._kept.values())

    def _line(self, line: bytes) -> None:
        try:
            # nginx writes the bytes of a path as they are.
            logged = orjson.loads(line.decode(errors="replace"))
        except orjson.JSONDecodeError:
            logged = None
        if not isinstance(logged, dict):
            self.unreadable += 1
            return
        refused = _of_envoy(logged) or _of_nginx(logged)
        if refused is not None and (self._wanted is None or refused.certificate in self._wanted):
            self._keep(refused)

    def _keep(self, refused: RefusedHandshake) -> None:
        # A flood of certificates without a name of ours makes room for itself alone: see `wanted`.
        key = refused.cause, refused.certificate, refused.subject or refused.remote
        former = self._kept.pop(key, None)
        if former is not None:
            refused = refused._replace(first=former.first, times=former.times + 1)
        self._kept[key] = refused
        if len(self._kept) > MAX_KEPT:
            self.forgotten += self._kept.popitem(last=False)[1].times


def _of_envoy(logged: dict[str, Any]) -> RefusedHandshake | None:
    """As deploy/envoy.yaml writes it."""
    if logged.get("event") != "handshake_refused":
        return None
    return _handshake(logged, _cause(_text(logged, "reason")))


def _of_nginx(logged: dict[str, Any]) -> RefusedHandshake | None:
    """As deploy/nginx.conf writes it: a request without an answer of the service, which nginx itself refused."""
    verify = _text(logged, "verify")
    return _handshake(logged, verify.removeprefix("FAILED:")) if verify.startswith("FAILED") else None


def _handshake(logged: dict[str, Any], cause: str) -> RefusedHandshake:
    time = _text(logged, "time")
    certificate = _text(logged, "certificate")
    digest = bytes.fromhex(certificate) if _is_sha256(certificate) else None
    return RefusedHandshake(cause, _text(logged, "subject"), digest, _text(logged, "remote"), time, time, 1)


_is_sha256: Final = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_VERIFY_FAILED: Final = re.compile(r"verif\w+[ _]error[ _]at[ _]depth[ _]\d+:[ _]?([^:]+)")


def _cause(reason: str) -> str:
    """What the library says of the certificate, or else all that the proxy says."""
    stated = _VERIFY_FAILED.search(reason)
    return (reason if stated is None else stated[1]).replace("_", " ").strip()


def _text(logged: dict[str, Any], name: str) -> str:
    """A text of a line; Envoy writes null, or a hyphen, for what is not known."""
    value = logged.get(name)
    return value[:MAX_TEXT] if isinstance(value, str) and value != "-" else ""


_OWN: Final = "renew the proxy's own certificate, or give the client its CA: the client refused it"

REMEDIES: Final = (
    # An alert is the client's.
    *(
        (f"alert {words}", _OWN)
        for words in ("certificate", "bad certificate", "unknown ca", "unsupported certificate")
    ),
    ("crl", "give the proxy the current CRL of each CA on the path, or none: the service looks at revocation itself"),
    ("did not return", "let the client present a certificate, or let the proxy ask for one without requiring it"),
    ("expired", "renew the certificate, or what has expired above it"),
    ("not yet valid", "wait, or compare the clocks of the CA and the proxy"),
    ("revoked", "let the client present a certificate that its CA has not revoked"),
    ("issuer certificate", "give the proxy its anchors again, and let the client send its intermediates"),
    ("first certificate", "give the proxy its anchors again, and let the client send its intermediates"),
    ("self", "give the proxy its anchors again, if this is a CA of yours: any other certificate is refused rightly"),
    ("purpose", "let the client present a certificate for clients: this one is for something else"),
    ("too weak", "let its CA certify a key, or sign with a digest, that the proxy's TLS accepts"),
)
"""What to do, by words of the cause, of which the first that are in it count."""


def remedy(handshake: RefusedHandshake) -> str:
    """The one thing to do."""
    cause = handshake.cause.lower()
    found = next((sentence for words, sentence in REMEDIES if words in cause), None)
    if found is not None:
        return found
    if handshake.certificate is None and not handshake.subject and "certificate" not in cause:
        return "compare what the client speaks with what the proxy accepts: no certificate was refused"
    return "compare the certificate with what the proxy's bundle and its TLS accept"


def owners_of(connection: sa.Connection, certificate: bytes) -> Iterator[str]:
    """The users for whom it is registered, or who were seen with it: a few of them."""
    registered = named_registrations(sha256=certificate).limit(MAX_OWNERS)
    names = {f"{row.user_name} of {row.organization}": None for row in connection.execute(registered)}
    seen = sa.select(users.c.name, organizations.c.name.label("organization")).select_from(last_seen)
    seen = seen.join(users, users.c.id == last_seen.c.user_id)
    seen = seen.join(organizations, organizations.c.id == users.c.organization_id)
    seen = seen.where(last_seen.c.sha256 == certificate).limit(MAX_OWNERS)
    names |= {f"{row.name} of {row.organization}": None for row in connection.execute(seen)}
    return iter(list(names)[:MAX_OWNERS])
