"""What a check may find missing, as keys: `NotLoaded` carries one, the reader loads it.

The `pool` of a key is who waits together for rows like it (`authz.service.pool_of`): an organization's checks.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


class _OfOrganization:
    __slots__ = ()

    organization: int

    @property
    def pool(self) -> Hashable:
        """The organization's."""
        return "rows", self.organization


@dataclass(frozen=True, slots=True)
class HostKey:
    """The organization that has a host."""

    host: str


@dataclass(frozen=True, slots=True)
class UserKey(_OfOrganization):
    """A user by organization and name."""

    organization: int
    name: str


@dataclass(frozen=True, slots=True)
class RegistrationsKey(_OfOrganization):
    """The registrations of a leaf in an organization."""

    organization: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class TrustKey(_OfOrganization):
    """An organization's anchors and intermediates."""

    organization: int


RowKey = HostKey | UserKey | RegistrationsKey | TrustKey


def owner_of(key: RowKey) -> int:
    """The organization whose row a key asks for; 0, which is nobody's, for hosts."""
    return 0 if isinstance(key, HostKey) else key.organization
