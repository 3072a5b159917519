"""Host names in canonical form, so that each organization has one spelling of its host."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from authz.errors import Refused
from authz.reasons import Reason

MAX_HOST = 253
"""Longest host name in bytes (RFC 1035 section 2.3.4, without the root label)."""

# RFC 9110 section 7.2: Host = uri-host [ ":" port ]; RFC 952 and 1123 section 2.1 for the labels.
# An underscore is not allowed in host names, but internal service names have it, and it is unambiguous here.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT = re.compile(r"[0-9]{0,5}")

MAX_CACHED = 300
"""Characters of a host that is cached: a host name, its dot and its port."""


def canonical_host(raw: str) -> str:
    """The host of `raw` in lower case, without port and trailing dot.

    An IPv6 literal keeps its brackets, in its shortest form. Names are ASCII: an internationalized
    name is written in its A-labels. Raises `Refused` (host_malformed) for anything else.
    """
    return _cached(raw) if len(raw) <= MAX_CACHED else _canonical(raw)


def _canonical(raw: str) -> str:
    if raw.startswith("["):
        return _ipv6(raw)
    host, _, port = raw.partition(":")
    if not _PORT.fullmatch(port):
        raise Refused(Reason.HOST_MALFORMED, f"not a port: {port}")
    host = host.lower().removesuffix(".") if host.isascii() else ""
    if not host or len(host) > MAX_HOST or not all(map(_LABEL.fullmatch, host.split("."))):
        raise Refused(Reason.HOST_MALFORMED, f"not a host name: {raw}")
    return host


_cached = lru_cache(1_024)(_canonical)


def _ipv6(raw: str) -> str:
    literal, bracket, rest = raw[1:].partition("]")
    if not bracket or not (rest == "" or (rest[0] == ":" and _PORT.fullmatch(rest[1:]))):
        raise Refused(Reason.HOST_MALFORMED, f"not a host name: {raw}")
    try:
        # A zone ("%eth0") is local to a machine and names nothing for a request.
        return f"[{ipaddress.IPv6Address(literal.replace('%', '?')).compressed}]"
    except ValueError:
        raise Refused(Reason.HOST_MALFORMED, f"not an IPv6 address: {raw}") from None
