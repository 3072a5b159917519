"""What a service manager hands over and is told: listening sockets (sd_listen_fds(3)) and readiness (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket

from authz.errors import ConfigError

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""


def notify(state: str) -> bool:
    """Tell the service manager `READY=1`, `STOPPING=1` and the like; whether it was told.

    Nobody listening is no error: the service runs without a manager too.
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


def inherited() -> dict[str, socket.socket]:
    """The sockets handed to this very process, by name (`FileDescriptorName=`); they are taken once.

    Raises `ConfigError` when one has no name or another's, or is no listening Unix socket: whoever reaches a listener
    can claim any certificate, and only a Unix socket's path says who may.
    """
    process, count, names = (os.environ.pop(f"LISTEN_{one}", "") for one in ("PID", "FDS", "FDNAMES"))
    if process != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        return {}
    found: dict[str, socket.socket] = {}
    named = names.split(":")
    if len(named) != int(count):
        raise ConfigError(f"{count} sockets are handed over with {len(named)} names", hint="set FileDescriptorName=")
    for position, name in enumerate(named):
        if name in found:
            raise ConfigError(
                f"two sockets are handed over as {name}", hint="give each a FileDescriptorName= of its own"
            )
        found[name] = _taken(FIRST_DESCRIPTOR + position, name)
    return found


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
