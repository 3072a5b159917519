"""What a check may find missing, as keys: `NotLoaded` carries one, the reader loads it.

Tuples, for each check makes several. Those of different kinds hold values of different kinds, so that no
two of them are equal. Checks of one `organization` wait together (`authz.service.queue_key`), and so do those of
unknown hosts, which have 0.
"""

from __future__ import annotations

from typing import NamedTuple

from authz.model import LeafKeys


class HostKey(NamedTuple):
    """The organization that has a host: `organization` as far as a row that is out of date says, else 0.

    So a known host waits among its own organization's checks, and not among those of hosts that strangers make up.
    """

    host: str
    organization: int = 0


class UserKey(NamedTuple):
    """A user by organization and name."""

    organization: int
    name: str


class RegistrationsKey(NamedTuple):
    """The registrations of a leaf in an organization."""

    organization: int
    sha256: bytes


class RegistrationsByKey(NamedTuple):
    """The registrations of an organization by another property than the leaf: `tbs`, `key` or `identity`.

    `value` is the SHA-256 of the tbsCertificate or of the SubjectPublicKeyInfo, or the typed name in UTF-8. Its three
    members make it another tuple than a `RegistrationsKey`.
    """

    organization: int
    kind: str
    value: bytes


class RenewalsKey(NamedTuple):
    """All registrations that a leaf which is not registered itself may match: they are read in one batch."""

    organization: int
    keys: tuple[RegistrationsByKey, ...]

    @classmethod
    def of(cls, organization: int, leaf: LeafKeys) -> RenewalsKey:
        """Those of a leaf."""
        values = [("tbs", leaf.tbs_sha256), ("key", leaf.spki_sha256)]
        values += [("identity", identity.encode()) for identity in leaf.identities]
        return cls(organization, tuple(RegistrationsByKey(organization, kind, value) for kind, value in values))


class TrustKey(NamedTuple):
    """An organization's anchors and intermediates."""

    organization: int


RowKey = HostKey | UserKey | RegistrationsKey | RegistrationsByKey | RenewalsKey | TrustKey


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
