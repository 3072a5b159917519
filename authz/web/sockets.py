"""Sockets to listen on: a Unix socket that a group can connect to, loopback, or others if the caller allows it."""

from __future__ import annotations

import contextlib
import errno
import grp
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from authz.errors import ConfigError

UNIX = "unix:"
BACKLOG = 1024


def listen(address: str, *, backlog: int = BACKLOG, anywhere: bool = False) -> socket.socket:
    """A socket as by `bind` that listens at once. Raises `ConfigError`."""
    opened = bind(address, anywhere=anywhere)
    with _closed_on_error(opened):
        begin(opened, address, backlog)
    return opened


def begin(opened: socket.socket, address: str, backlog: int) -> None:
    """Make a bound socket listen. Raises `ConfigError`: of two that are bound to one port, the first has it."""
    with _explained(address):
        opened.listen(backlog)


def bind(address: str, *, mode: int = 0o660, group: str | None = None, anywhere: bool = False) -> socket.socket:
    """A socket bound to `unix:/path` or `address:port` (`[::1]:port` for IPv6) that refuses connections as yet.

    Every client can claim any certificate, so a Unix socket has `mode` and `group`, and TCP beyond loopback is refused
    unless the caller allows `anywhere`. Raises `ConfigError`.
    """
    with _explained(address):
        if address.startswith(UNIX):
            return _unix(Path(address.removeprefix(UNIX)), mode, group)
        return _tcp(address, anywhere=anywhere)


@contextlib.contextmanager
def _explained(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "")
        raise ConfigError(f"cannot listen at {address}: {error.strerror or error}", hint=hint) from error


_HINTS: Final = {
    errno.EADDRINUSE: "stop the process that listens there, or choose another address; ss -ltnp names it",
    errno.EADDRNOTAVAIL: "choose an address of this machine",
    errno.EACCES: "choose a port above 1023, or a folder that the service may write",
    errno.ENOENT: "make the socket's folder, and let the service write it",
}


def _unix(path: Path, mode: int, group: str | None) -> socket.socket:
    _take_over(path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _closed_on_error(opened):
        # Bound for its owner alone, and opened to others only once group and mode are right.
        previous = os.umask(0o177)
        try:
            opened.bind(str(path))
        finally:
            os.umask(previous)
        if group is not None:
            os.chown(path, -1, _group(group))
        path.chmod(mode)
        opened.setblocking(False)
    return opened


def adjust(opened: socket.socket, address: str, mode: int, group: str | None, backlog: int) -> None:
    """Give a socket other rights and, if it listens already, another backlog. Raises `ConfigError`."""
    try:
        if address.startswith(UNIX):
            path = Path(address.removeprefix(UNIX))
            if group is not None:
                os.chown(path, -1, _group(group))
            path.chmod(mode)
        if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            opened.listen(backlog)
    except OSError as error:
        raise ConfigError(f"the socket at {address} cannot be changed: {error.strerror or error}") from error


@contextlib.contextmanager
def _closed_on_error(opened: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        opened.close()
        raise


def _take_over(path: Path) -> None:
    """Make way at `path`: a socket that no process has is removed, anything else is left and refused."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ConfigError(f"{path} exists, and is not a socket", hint="choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            if not _is_bound(path):
                path.unlink(missing_ok=True)
                return
        except OSError as error:
            raise ConfigError(f"{path} cannot be taken over: {error}") from error
    raise ConfigError(f"another process listens at {path}", hint="stop the other service, or choose another path")


_BOUND: Final = [b"00000000", b"0001", b"01"]
"""Flags, type and state in /proc/net/unix of a stream socket that neither listens nor is connected."""


def _is_bound(path: Path) -> bool:
    """Whether a process of this network namespace is about to listen there: until then it refuses connections."""
    try:
        lines = Path("/proc/net/unix").read_bytes().splitlines()
    except OSError:
        return False
    fields = (line.split(None, 7) for line in lines)
    return any(each[3:6] == _BOUND and each[7:] == [os.fsencode(path)] for each in fields)


def _group(name: str) -> int:
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {name}", hint="create it, and put the proxy into it") from None


def check_reach(address: str, *, anywhere: bool) -> None:
    """Whether a listener may have `address`, also where its socket is open. Raises `ConfigError`."""
    if not address.startswith(UNIX):
        _parsed(address, anywhere=anywhere)


def _parsed(address: str, *, anywhere: bool) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    host, _, port = address.rpartition(":")
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port)
    except ValueError:
        ip, number = None, -1
    if ip is None or not 0 <= number <= 0xFFFF:
        raise ConfigError(f"not an address: {address}", hint="write unix:/path, 127.0.0.1:port or [::1]:port")
    if not ip.is_loopback and not anywhere:
        raise ConfigError(
            f"{address} is not loopback: every client there can claim any certificate, or read the operators' pages",
            hint="listen on a Unix socket or on 127.0.0.1, or with tls: [listener.tls] (docs/listeners.md), [ops.tls] "
            "(docs/operations.md)",
        )
    return ip, number


def _tcp(address: str, *, anywhere: bool) -> socket.socket:
    ip, number = _parsed(address, anywhere=anywhere)
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    with _closed_on_error(opened):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((str(ip), number))
        opened.setblocking(False)
    return opened


def socket_inode(address: str) -> int | None:
    """The inode of a Unix socket's file, by which a file that replaced it is recognized; None for TCP."""
    return Path(address.removeprefix(UNIX)).lstat().st_ino if address.startswith(UNIX) else None


def remove(address: str, inode: int | None) -> None:
    """Remove a Unix socket's file, if its inode is still `inode`."""
    with contextlib.suppress(OSError):
        if inode is not None and socket_inode(address) == inode:
            Path(address.removeprefix(UNIX)).unlink()
