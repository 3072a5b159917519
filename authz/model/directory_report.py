"""What operators see of the directory in the metrics: what ends when, and who would be refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Expiring(StrEnum):
    """The kinds of things that end."""

    REGISTRATION = "registration"
    """A registered certificate, or its registration, whichever ends first."""
    PRESENTED = "presented"
    """A certificate that an active user was seen with lately, registered or not."""
    ANCHOR = "anchor"
    INTERMEDIATE = "intermediate"
    CRL = "crl"
    """A CRL, by its nextUpdate."""
    KEY_SET = "key_set"
    """The last good copy of a key set that cannot be read."""
    OWN_TLS = "own_tls"
    """A certificate in a file of the service's own TLS: its certificate, the CAs of clients and of gateways."""


def key_set_id(location: str) -> str:
    """What stands for a key set between processes: as long for every location."""
    return sha256(location.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class DirectoryReport:
    """The state of the directory when it was read last.

    `ends` has the first end that is still to come, by kind and organization, `signers` the organizations by the SHA-256
    of the plain SubjectPublicKeyInfo of their CAs; both have "" for what all organizations share. `key_sets` has the
    organizations by `key_set_id`. `observed` counts, by organization, the users in the history whom `observe` allowed
    and `required` would have refused.
    """

    ends: Mapping[tuple[Expiring, str], datetime] = field(default_factory=dict)
    signers: Mapping[bytes, frozenset[str]] = field(default_factory=dict)
    key_sets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    observed: Mapping[str, int] = field(default_factory=dict)
    changed_at: datetime | None = None
