"""Where a CRL may be fetched from: addresses that are public, or that the operator allows by name.

The address of a CRL stands in a certificate, so whoever has one issued can point us at our own network
(field: "CRL address as an attack on our network"). What counts is the address a connection goes to.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from authz.errors import AuthzError, ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The library's own `is_global` differs from one release of Python to the next, and takes 6to4 and NAT64
# for public; so the registries stand here: IANA's special-purpose addresses (RFC 6890 and its updates).
_NOT_PUBLIC_4: Final[tuple[tuple[str, str], ...]] = (
    ("0.0.0.0/8", "this network, unspecified"),  # RFC 791
    ("10.0.0.0/8", "private"),  # RFC 1918
    ("100.64.0.0/10", "shared by a provider's customers"),  # RFC 6598
    ("127.0.0.0/8", "loopback"),  # RFC 1122
    ("168.63.129.16/32", "a cloud's service for its machines"),  # Azure; public by number only
    ("169.254.0.0/16", "link-local, metadata services"),  # RFC 3927
    ("172.16.0.0/12", "private"),  # RFC 1918
    ("192.0.0.0/24", "protocol assignments"),  # RFC 6890
    ("192.0.2.0/24", "documentation"),  # RFC 5737
    ("192.88.99.0/24", "relays of 6to4"),  # RFC 7526
    ("192.168.0.0/16", "private"),  # RFC 1918
    ("198.18.0.0/15", "benchmarking"),  # RFC 2544
    ("198.51.100.0/24", "documentation"),  # RFC 5737
    ("203.0.113.0/24", "documentation"),  # RFC 5737
    ("224.0.0.0/4", "multicast"),  # RFC 5771
    ("240.0.0.0/4", "reserved, broadcast"),  # RFC 1112
)
_NOT_PUBLIC_6: Final[tuple[tuple[str, str], ...]] = (
    ("2001::/23", "protocol assignments, Teredo"),  # RFC 2928, RFC 4380
    ("2001:db8::/32", "documentation"),  # RFC 3849
    ("2002::/16", "6to4"),  # RFC 3056, given up by RFC 7526
    ("3fff::/20", "documentation"),  # RFC 9637
)

_RULES: Final = tuple((ipaddress.ip_network(one), why) for one, why in (*_NOT_PUBLIC_4, *_NOT_PUBLIC_6))

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""RFC 4291 section 2.4 and IANA: of IPv6, all that was ever given out for global unicast."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052 section 2.1: how a network without IPv4 reaches the public one; the last 32 bits are the address."""


class AddressRefused(AuthzError):
    """An address, or a host's name, that must not be connected to; the message says which, and why."""


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Globally routable unicast addresses, and whatever lies in `allowed`."""

    allowed: tuple[Network, ...] = ()

    def check(self, address: str) -> None:
        """Raises `AddressRefused` unless `address`, an IP address in its usual spelling, may be connected to."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            raise AddressRefused(f"{address} is not an IP address") from None
        found = _unmapped(found)
        # A zone ("%eth0") belongs to addresses that mean something on one link only.
        if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
            raise AddressRefused(f"{address} is meant for one link only")
        if any(found in one for one in self.allowed):
            return
        why = _not_public(found)
        if why:
            raise AddressRefused(f"{address} is not a public address ({why}), and no allowed network has it")


def _unmapped(address: Address) -> Address:
    """An IPv4-mapped address is the IPv4 address: that is where the connection goes (RFC 4291 section 2.5.5.2)."""
    return getattr(address, "ipv4_mapped", None) or address


def _not_public(address: Address) -> str:
    """Why the address is not globally routable unicast; empty if it is."""
    for network, why in _RULES:
        if address in network:
            return why
    if isinstance(address, ipaddress.IPv4Address) or address in _GLOBAL_UNICAST:
        return ""
    if address in _NAT64:
        # RFC 6052 section 3.1: the well-known prefix is for public IPv4 addresses only.
        return _not_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return "not global unicast"


# RFC 952, RFC 1123 section 2.1; the underscore is no host name, but internal names have it.
_LABEL: Final = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")

# A name whose last label is a number is read as an IPv4 address by some and asked of the DNS by others:
# 127.1, 0x7f.1, 2130706433, 0177.0.0.1. Nothing but the one usual spelling is an address here.
_ENDS_IN_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


def canonical_host(host: str) -> str:
    """A URL's host in one spelling: an address in its shortest form, a name in lower case without its last dot.

    Raises `AddressRefused` for what is neither, numbers in odd spellings included.
    """
    host = host.lower()
    if host.startswith("[") and host.endswith("]"):
        try:
            # A zone names a link of one machine; the mark that begins it becomes one that no address has.
            return str(ipaddress.IPv6Address(host[1:-1].replace("%", "?")))
        except ValueError:
            raise AddressRefused(f"{host} is not an IPv6 address") from None
    host = host.removesuffix(".")
    if not _ENDS_IN_NUMBER.fullmatch(host):
        if _NAME.fullmatch(host):
            return host
        raise AddressRefused(f"{host} is not a host's name")
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise AddressRefused(f"{host} is an address in an odd spelling") from None


class HostRules:
    """The hosts that may be asked: exact names, and `*.example.com` for whatever is below that name.

    None at all: every host. Raises `ConfigError` for a pattern that is neither.
    """

    def __init__(self, patterns: tuple[str, ...] = ()) -> None:
        self._exact: set[str] = set()
        self._suffixes: list[str] = []
        for pattern in patterns:
            name = pattern.removeprefix("*.")
            try:
                host = canonical_host(f"[{name}]" if ":" in name else name)
            except AddressRefused as refused:
                raise ConfigError(
                    f"not a host that CRLs may come from: {pattern}", hint="write crl.example.com or *.example.com"
                ) from refused
            if name == pattern:
                self._exact.add(host)
            else:
                self._suffixes.append(f".{host}")

    def check(self, host: str) -> None:
        """Raises `AddressRefused` unless `host`, in its canonical spelling, is allowed."""
        if not self._exact and not self._suffixes:
            return
        if host not in self._exact and not any(host.endswith(one) for one in self._suffixes):
            raise AddressRefused(f"{host} is not among the allowed hosts")
