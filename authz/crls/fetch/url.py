"""The URL of a CRL, taken apart once and strictly, so that what is checked is what is connected to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import yarl

from authz.crls.failures import FailureKind, FetchFailed, told_as
from authz.crls.fetch.address_rules import AddressRefused, canonical_host

MAX_URL: Final = 2_048
"""Characters of a URL: what common clients and servers take."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, and of it the host in canonical spelling and the port."""

    url: yarl.URL
    host: str
    port: int

    @property
    def is_address(self) -> bool:
        """Whether the host is an address, and needs no look-up."""
        return ":" in self.host or self.host.rpartition(".")[2].isdecimal()


# RFC 3986 section 3, narrowed: no userinfo, nothing but printable ASCII, no space.
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HTTP: Final = re.compile(
    r"https?://(?P<host>\[[^][/?#@]*\]|[^][:/?#@]+)(?::(?P<port>[0-9]{0,5}))?(?P<rest>[/?][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_NO_HOST: Final = (((AddressRefused,), FailureKind.ADDRESS_NOT_ALLOWED),)
_PORTS: Final = {"http": 80, "https": 443}


def parse_url(text: str) -> Target:
    """The URL taken apart. Raises `FetchFailed` (scheme, url, address_not_allowed)."""
    found = _SCHEME.match(text)
    if found is None:
        raise FetchFailed(FailureKind.URL, f"not a URL: {text}")
    scheme = found[1].lower()
    if scheme not in _PORTS:
        raise FetchFailed(FailureKind.SCHEME, f"{scheme} is not fetched, http and https are")
    parts = _HTTP.fullmatch(text)
    if parts is None or len(text) > MAX_URL:
        raise FetchFailed(FailureKind.URL, f"not a URL that is fetched: {text}")
    with told_as(_NO_HOST):
        host = canonical_host(parts["host"])
    port = int(parts["port"] or _PORTS[scheme])
    if not 0 < port <= 0xFFFF:
        raise FetchFailed(FailureKind.URL, f"not a port: {port}")
    written = f"[{host}]" if ":" in host else host
    return Target(yarl.URL(f"{scheme}://{written}:{port}{parts['rest'] or '/'}", encoded=True), host, port)
