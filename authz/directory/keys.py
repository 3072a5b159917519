"""What a check may find missing, as keys: `NotLoaded` carries one, the reader loads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostKey:
    """The organization that has a host."""

    host: str


@dataclass(frozen=True, slots=True)
class UserKey:
    """A user by organization and name."""

    organization: int
    name: str


@dataclass(frozen=True, slots=True)
class RegistrationsKey:
    """The registrations of a leaf in an organization."""

    organization: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class TrustKey:
    """An organization's anchors and intermediates."""

    organization: int


@dataclass(frozen=True, slots=True)
class CrlsKey:
    """All CRLs."""


RowKey = HostKey | UserKey | RegistrationsKey | TrustKey
Key = RowKey | CrlsKey


def owner_of(key: RowKey) -> int:
    """The organization whose row a key asks for; 0, which is nobody's, for hosts."""
    return 0 if isinstance(key, HostKey) else key.organization
