"""The input of a decision: one consistent view of the directory and the CRLs, and the listener's own rules.

Every look-up is synchronous. A view without the row at its revision raises `NotLoaded`; the caller
loads it and decides again from the start, with a fresh view and a fresh time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from authz.model import HeaderRules

if TYPE_CHECKING:
    from datetime import datetime

    from authz.headers.decode_cache import DecodeCache
    from authz.model import CheckRequest, ClientRequestHeaders, Identity, LeafKeys, Organization, Registration, User
    from authz.pki import CrlStore, ModeOf, TrustStore


class IdentitySource(Protocol):
    """One way in which a listener identifies the user."""

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:
        """The identity in `check`, tied to `organization`.

        Raises `Refused` (401) without a usable identity, `NotLoaded` if keys must be fetched first.
        """
        ...


class View(Protocol):
    """One revision of everything a decision depends on.

    All look-ups raise `NotLoaded`; `trust` raises `Refused` if an organization's anchors cannot be used.
    """

    def organization(self, host: str) -> Organization | None:
        """The organization that has the canonical host name `host`, or None."""
        ...

    def user(self, organization: Organization, name: str) -> User | None:
        """The user of that exact name, or None."""
        ...

    def registrations(self, organization: Organization, sha256: bytes) -> tuple[Registration, ...]:
        """Every registration of the leaf in the organization, of any user and in any state."""
        ...

    def renewals(self, organization: Organization, keys: LeafKeys) -> tuple[Registration, ...]:
        """Every registration in the organization that has one of the keys, of any kind and user and in any state.

        With `der`, where a certificate is stored.
        """
        ...

    def trust(self, organization: Organization) -> TrustStore:
        """The organization's anchors and intermediates, its policy, and the cache of what verified before."""
        ...

    def crls(self, organization: Organization) -> CrlStore:
        """The CRLs that may apply to the organization's certificates."""
        ...

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """The operator's exemptions from unknown revocation status; None, the default, for hard-fail."""
        ...

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """Ask for the CRLs of a path (DER, leaf first, anchor last) that satisfies RFC 5280 section 6.1.

        Raises `NotLoaded` if its distribution points may have CRLs that were not fetched yet.
        """
        ...

    def decode_cache(self, organization: Organization) -> DecodeCache:
        """The organization's cache of decoded header values."""
        ...


@dataclass(frozen=True, slots=True)
class TrustedProxy:
    """A gateway in front of the listener's own proxy, whose header element is skipped once it is authenticated.

    `trust` holds the operator's gateway anchors; the element's certificate must verify to them and
    carry one of `names` (a DNS or URI subject alternative name, compared exactly). Without `crl_required` it
    is accepted if no current CRL applies to it.
    """

    trust: TrustStore
    names: frozenset[str]
    crl_required: bool = False


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener as the core sees it: its headers, identity sources, trusted proxies and organizations.

    `trusted_proxies` are the gateways from the nearest to the farthest. `organizations` are names; None serves all.
    `client_request` are the headers that hold the client's request; None: the request itself does.
    """

    name: str
    identity: tuple[IdentitySource, ...]
    header: HeaderRules = field(default_factory=HeaderRules)
    trusted_proxies: tuple[TrustedProxy, ...] = ()
    organizations: frozenset[str] | None = None
    client_request: ClientRequestHeaders | None = None
