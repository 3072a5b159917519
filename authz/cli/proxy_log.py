"""`authz why --proxy-log`: the handshakes that the proxy itself refused."""

from __future__ import annotations

import stat
from pathlib import Path
from shlex import quote
from typing import Final

import typer

from authz.admin.proxy_log import MAX_OF_PIPE, ProxyLog, RefusedHandshake, owners_of, remedy
from authz.admin.why import status_of
from authz.cli.options import open_store
from authz.cli.output import Row, emit, say
from authz.directory import Store
from authz.errors import ConfigError


def why_handshakes(context: typer.Context, file: Path, user: list[str], *, as_json: bool) -> None:
    """Print the handshakes in a log, the one refused last at last; with ORGANIZATION USER those of that user's.

    Raises `ConfigError` for a file that cannot be read.
    """
    with open_store(context) as store:
        log = ProxyLog(_certificates_of(store, *user) if user else None)
        try:
            most = _most_of(file)
            with file.open("rb") as opened:
                if opened.peek(len(GZIP)).startswith(GZIP):
                    plain = f"zcat {quote(str(file))} | authz why --proxy-log /dev/stdin"
                    raise ConfigError(f"{file} is compressed by gzip", hint=plain)
                log.read(opened, most)
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}", hint=_HINT) from error
        emit([_row(store, handshake) for handshake in log.handshakes()], as_json=as_json)
    say(
        f"{sum(each.times for each in log.handshakes())} refused handshakes; "
        f"{log.forgotten} older ones left out; {log.unreadable} lines that are no access log of deploy/"
    )
    if log.cut:
        say(f"of a pipe no more than {MAX_OF_PIPE} bytes are read: there may be later ones")


GZIP: Final = b"\x1f\x8b"
"""How its files begin (RFC 1952 section 2.3.1)."""

_HINT: Final = "name the proxy's access log, or a pipe that it comes through"


def _most_of(file: Path) -> int | None:
    """How many bytes of it are read; None for all. Raises `ConfigError` for a device: it may do anything."""
    mode = file.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise ConfigError(f"{file} is neither a file nor a pipe", hint=_HINT)
    return MAX_OF_PIPE if stat.S_ISFIFO(mode) else None


def _certificates_of(store: Store, organization: str, user: str) -> set[bytes]:
    """Those that are registered for a user, or were seen."""
    with store.reading() as connection:
        status = status_of(connection, organization, user)
    registered = (stored.registration.sha256 for stored in status.registrations)
    return {sha256 for sha256 in registered if sha256 is not None} | {leaf.sha256 for leaf in status.seen}


def _row(store: Store, handshake: RefusedHandshake) -> Row:
    users: list[str] = []
    if handshake.certificate is not None:
        with store.reading() as connection:
            users = list(owners_of(connection, handshake.certificate))
    return {**handshake._asdict(), "users": users, "do": remedy(handshake)}
