"""The service manager's protocols: listening sockets handed over (sd_listen_fds(3)), readiness (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket

from authz.errors import ConfigError

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""


def notify(state: str) -> bool:
    """Send the service manager `READY=1`, `STOPPING=1` and the like; return whether it was sent.

    Without a service manager this does nothing.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    name = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.settimeout(1)
        out.sendto(state.encode(), name)
        return True
    return False


def inherited_sockets() -> dict[str, socket.socket]:
    """The sockets handed to this very process, by name (`FileDescriptorName=`); they are taken once.

    Raises `ConfigError` when one has no name or another's, or is no listening Unix socket: every client of a listener
    can claim any certificate, and only the mode of a Unix socket's path restricts them.
    """
    process, count, names = (os.environ.pop(f"LISTEN_{field}", "") for field in ("PID", "FDS", "FDNAMES"))
    if process != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        return {}
    sockets: dict[str, socket.socket] = {}
    named = names.split(":")
    if len(named) != int(count):
        raise ConfigError(f"{count} sockets are handed over with {len(named)} names", hint="set FileDescriptorName=")
    for position, name in enumerate(named):
        if name in sockets:
            raise ConfigError(
                f"two sockets are handed over as {name}", hint="give each a FileDescriptorName= of its own"
            )
        sockets[name] = _taken(FIRST_DESCRIPTOR + position, name)
    return sockets


def _taken(descriptor: int, name: str) -> socket.socket:
    try:
        taken = socket.socket(fileno=descriptor)
        taken.set_inheritable(False)
        taken.setblocking(False)
        listening = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigError(f"the descriptor handed over as {name} cannot be used: {error.strerror}") from error
    if not listening or taken.family != socket.AF_UNIX or taken.type != socket.SOCK_STREAM:
        raise ConfigError(f"what is handed over as {name} is no listening Unix socket", hint="use ListenStream=/path")
    return taken
