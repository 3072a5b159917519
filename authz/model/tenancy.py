"""Tenants: organizations, their users, and the certificates registered for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime


class Enforcement(StrEnum):
    """Whether one user needs a registered certificate."""

    OFF = "off"
    OBSERVE = "observe"
    REQUIRED = "required"


class BindingScope(StrEnum):
    """Which registrations count: the user's own, or all of the organization (the model's rule; docs/model.md)."""

    USER = "user"
    ORGANIZATION = "organization"


class RegistrationKind(StrEnum):
    """What a registration names: a certificate, a key, or a name below an anchor."""

    CERTIFICATE = "certificate"
    """One certificate, by the SHA-256 of its DER."""
    KEY = "key"
    """Every certificate of one key, by the SHA-256 of its SubjectPublicKeyInfo."""
    IDENTITY = "identity"
    """Every certificate with one subject alternative name whose path ends in one anchor."""


class RegistrationState(StrEnum):
    """The state of a registration at one moment."""

    SCHEDULED = "scheduled"
    ACTIVE = "active"
    RETIRED = "retired"


DEFAULT_KINDS: Final = (RegistrationKind.CERTIFICATE,)
"""The kinds of registrations that count in an organization which says nothing else."""


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """How an organization's tokens are recognized: their issuer, their audience, and the claim that names the user.

    `organization_claim` is an alternative tie: the payload's claim of that name must equal the
    organization's name. With neither an issuer nor an organization claim, no token is accepted.
    `keys` is the file or https URL of the JWKS, needed only where the service verifies tokens itself. `type` is the
    `typ` that a token must have, in lower case and without "application/" (`at+jwt`, RFC 9068 section 2.1).
    `audience_claim` is the claim that holds the audience: `client_id` or `azp` where an issuer writes no `aud`.
    """

    issuer: str | None = None
    audience: str | None = None
    user_claim: str = "sub"
    organization_claim: str | None = None
    keys: str | None = None
    type: str | None = None
    audience_claim: str = "aud"


class Algorithm(StrEnum):
    """What an organization may accept: kinds of keys, and SHA-1 in certificates that the operator stored."""

    DEFAULT = "default"
    """The kinds of keys that this version accepts of itself."""
    RSA = "rsa"
    RSASSA_PSS = "rsassa-pss"
    SECP256R1 = "secp256r1"
    SECP384R1 = "secp384r1"
    SECP521R1 = "secp521r1"
    ED25519 = "ed25519"
    ED448 = "ed448"
    BRAINPOOL_P256R1 = "brainpoolP256r1"
    BRAINPOOL_P384R1 = "brainpoolP384r1"
    BRAINPOOL_P512R1 = "brainpoolP512r1"
    SHA1 = "sha1"


@dataclass(frozen=True, slots=True)
class PathSettings:
    """What an organization's certificates may use, and what their paths must satisfy (RFC 5280 section 6.1.1).

    `min_rsa_bits` below 2,048 counts in certificates that the operator stored, alone. `policies` are the initial policy
    set, dotted; without any, every policy is accepted. `purpose` is the extended key usage that a leaf must name.
    """

    algorithms: tuple[Algorithm, ...] = (Algorithm.DEFAULT,)
    min_rsa_bits: int = 2048
    policies: tuple[str, ...] = ()
    explicit_policy: bool = False
    inhibit_mapping: bool = False
    inhibit_any_policy: bool = False
    purpose: str = "1.3.6.1.5.5.7.3.2"


DEFAULT_PATHS: Final = PathSettings()
"""One object for all organizations that change nothing, so that their rows in memory weigh no more for it."""


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant: `id` is the directory's key, `name` the name that the operator gave it."""

    id: int
    name: str
    hosts: tuple[str, ...]
    active: bool = True
    binding_scope: BindingScope = BindingScope.USER
    default_enforcement: Enforcement = Enforcement.REQUIRED
    token: TokenSettings = field(default_factory=TokenSettings)
    path: PathSettings = DEFAULT_PATHS
    binding_kinds: tuple[RegistrationKind, ...] = DEFAULT_KINDS


@dataclass(frozen=True, slots=True)
class User:
    """A user of exactly one organization; `name` is compared byte for byte."""

    id: int
    organization_id: int
    name: str
    enforcement: Enforcement
    active: bool = True


@dataclass(frozen=True, slots=True)
class Registration:
    """What is registered for one user, from `valid_from` (inclusive) until `valid_until` (exclusive).

    `sha256` is that of the leaf's DER, None where no certificate was stored; `chain` holds the intermediates stored
    with it (DER), which complete the path for proxies that forward the leaf alone. At `retired_at` it ends for good.
    `tbs_sha256` is that of the leaf's tbsCertificate, `spki_sha256` that of its SubjectPublicKeyInfo. `identity` is a
    name with its type (`authz.pki.x509.identities`), `anchor_sha256` that of the anchor below which it counts.
    `der` is the leaf, where it was read.
    """

    id: int
    organization_id: int
    user_id: int
    sha256: bytes | None
    label: str = ""
    chain: tuple[bytes, ...] = ()
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    retired_at: datetime | None = None
    kind: RegistrationKind = RegistrationKind.CERTIFICATE
    tbs_sha256: bytes | None = None
    spki_sha256: bytes | None = None
    identity: str | None = None
    anchor_sha256: bytes | None = None
    der: bytes = b""

    def state(self, at: datetime) -> RegistrationState:
        """The state at `at`: retired from `retired_at` on, and from `valid_until` on."""
        if self.retired_at is not None and self.retired_at <= at:
            return RegistrationState.RETIRED
        if self.valid_until is not None and self.valid_until <= at:
            return RegistrationState.RETIRED
        if self.valid_from is not None and at < self.valid_from:
            return RegistrationState.SCHEDULED
        return RegistrationState.ACTIVE
