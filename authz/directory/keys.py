"""What a check may find missing, as keys: `NotLoaded` carries one, the reader loads it.

Tuples, for each check makes several. Those of different kinds hold values of different kinds, so that no
two of them are equal. The `queue` of a key names the checks that wait together for rows like it
(`authz.service.queue_key`): an organization's checks, or all that ask for hosts.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple


class HostKey(NamedTuple):
    """The organization that has a host: `organization` as far as a row that is out of date says, else 0.

    So a known host waits among its own organization's checks, and not among those of hosts that strangers make up.
    """

    host: str
    organization: int = 0

    @property
    def queue(self) -> Hashable:
        """The organization's, or that of all unknown hosts."""
        return ("rows", self.organization) if self.organization else HostKey


class UserKey(NamedTuple):
    """A user by organization and name."""

    organization: int
    name: str

    @property
    def queue(self) -> Hashable:
        """The organization's."""
        return "rows", self.organization


class RegistrationsKey(NamedTuple):
    """The registrations of a leaf in an organization."""

    organization: int
    sha256: bytes

    @property
    def queue(self) -> Hashable:
        """The organization's."""
        return "rows", self.organization


class TrustKey(NamedTuple):
    """An organization's anchors and intermediates."""

    organization: int

    @property
    def queue(self) -> Hashable:
        """The organization's."""
        return "rows", self.organization


RowKey = HostKey | UserKey | RegistrationsKey | TrustKey


class OrganizationKey(NamedTuple):
    """What all hosts of an organization have in common: no check asks for it, but it changes.

    `row` makes it another tuple than the `TrustKey` of the organization.
    """

    organization: int
    row: None = None


class UsersKey(NamedTuple):
    """All users and registrations of an organization, of which too many changed to name each."""

    organization: int
    rows: tuple[()] = ()


class CrlKey(NamedTuple):
    """A CRL, which no check asks for as a row either."""

    sha256: bytes


ChangedKey = RowKey | OrganizationKey | UsersKey | CrlKey
"""What a change can be of; `TrustKey(0)` for the certificates that all organizations share."""


def owner_of(key: RowKey) -> int:
    """The organization whose row a key asks for; 0, which is the number of none, for a host that is not known."""
    return key.organization
