"""Addresses as the proxies' configurations write them: when two of them are one, and which stay on this machine."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

_THIS: Final = "127.0.0.1"
"""What every name of this machine is compared as."""


def canonical(place: str) -> str:
    """An address `host:port` or `unix:/path` with one spelling of this machine."""
    if place.startswith(("unix:", "internal:")):
        return place
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, ""
    host = host.lower()
    host = _THIS if is_this_machine(host) else host
    return f"{host}:{port}" if port else host


def is_this_machine(host: str) -> bool:
    """Whether a host, by name or address, is the machine itself."""
    bare = host.strip("[]").lower()
    try:
        address = ip_address(bare)
    except ValueError:
        return bare == "localhost"
    return address.is_loopback or address.is_unspecified


def is_local(place: str) -> bool:
    """Whether only this machine reaches `host:port`."""
    return place.startswith(("unix:", "internal:")) or canonical(place).startswith(_THIS)
