"""The CRLs in the directory, and the state of the sources that CRLs are fetched from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime


class CrlSourceKind(StrEnum):
    """The kinds of places that CRLs are read from."""

    FILE = "file"
    """A file that the operator named, or one in a folder that the operator named."""
    URL = "url"
    """A URL that the operator named."""
    POINT = "point"
    """A distribution point of a certificate on a path that verified."""


@dataclass(frozen=True, slots=True)
class CrlSourceState:
    """The state of a source of CRLs, for the operator.

    `location` is its path or URL. `outcome` is the result of the last attempt: "accepted", "unchanged", a failure
    (`authz.crls.failures.FailureKind`), or empty before the first; `detail` explains it. `failures` counts those
    in a row, `accepted_at` is the last time that it gave a CRL that is in use.
    """

    location: str
    kind: CrlSourceKind
    tried_at: datetime | None = None
    accepted_at: datetime | None = None
    next_at: datetime | None = None
    failures: int = 0
    outcome: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FetchedCrl:
    """A CRL that the service holds from one of its sources, for the operator.

    `name` is that of its file in the store, `signer` the SHA-256 of the SubjectPublicKeyInfo that verifies it,
    `number` is in decimal.
    """

    name: str
    location: str
    sha256: bytes
    signer: bytes
    issuer: str
    number: str | None
    delta: bool
    entries: int
    this_update: datetime
    next_update: datetime | None
    fetched_at: datetime


class CrlRow(NamedTuple):
    """A CRL in the directory, of `size` bytes of DER.

    `signer_spki` is the SubjectPublicKeyInfo (DER) that verifies it, empty for a CRL that an earlier version added,
    and `signer_spki_sha256` its SHA-256.
    """

    sha256: bytes
    signer_spki_sha256: bytes
    size: int
    signer_spki: bytes
