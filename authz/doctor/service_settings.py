"""The service's own settings, as far as rules compare them with the proxy's; `authz.cli.doctor` fills it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

IDENTITY_HEADERS: Final = (
    "x-authz-organization",
    "x-authz-user",
    "x-authz-certificate",
    "x-authz-binding",
    "x-authz-decision-id",
)
"""What the service returns with every answer that allows; a test holds it to `authz.web.answer`."""

DISAGREEMENT: Final = (
    "the fault is a disagreement that refuses every request: the service's own tests show each refusal"
)
"""The proof of a rule that compares a proxy's configuration with these settings."""


@dataclass(frozen=True)
class OurListener:
    """A listener of the service."""

    name: str
    address: str
    """`unix:/path` or `host:port`."""

    tls: bool
    names: tuple[str, ...]
    prefix: str
    auth_request_path: str
    certificate_header: str
    certificate_form: str
    statement_header: str
    statement_form: str
    identity_headers: tuple[str, ...]
    """The headers that say who the user is: a payload's, a user name's, a token's."""

    token_headers: tuple[str, ...]
    """Those of them that hold a token, which the service verifies itself: the client writes them."""

    hops: int
    none_values: tuple[str, ...] = ()
    """What the certificate header holds without a certificate, of a proxy that always sends it."""

    host_header: str = "host"

    def at(self, address: str) -> bool:
        """Whether a proxy that asks at this address reaches it: a name stands for any address of that port."""
        if address.startswith("unix:") or self.address.startswith("unix:"):
            return address == self.address
        host, _, port = address.rpartition(":")
        own, _, own_port = self.address.rpartition(":")
        return port == own_port and (host == own or own in {"0.0.0.0", "[::]"})  # noqa: S104 - compared


@dataclass(frozen=True)
class Ours:
    """The settings, and the hosts of the directory's organizations."""

    file: str
    listeners: tuple[OurListener, ...]
    check_seconds: float
    hosts: tuple[str, ...] = ()


def asked_at(ours: Ours | None, addresses: Iterable[str]) -> list[OurListener]:
    """The service's listeners that a proxy reaches which asks at one of the addresses."""
    return [listener for listener in ours.listeners if any(map(listener.at, addresses))] if ours else []
