"""The operator's rules for CRLs: where they come from, how often they are asked for, and when one may be missing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from authz.crls.schedule import Schedule
from authz.crls.sources import CrlSource, urls_of
from authz.model import CrlSourceKind, Organization
from authz.pki import HARD_FAIL, Certificate, ModeOf, RevocationMode
from authz.pki.x509.distinguished_name import Name

DEFAULT_SCHEDULE = Schedule(
    floor=timedelta(seconds=30), ceiling=timedelta(minutes=15), ahead=timedelta(hours=1), jitter=0.2
)
"""A conditional request every quarter of an hour: the CA's server answers most of them with 304 and nothing else."""


MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModeRule:
    """For the certificates that `issuer` issued, and of one organization if it is named, else of all."""

    mode: RevocationMode
    issuer: Name | None = None
    organization: str | None = None


@dataclass(frozen=True, slots=True)
class CrlRules:
    """`files` are files and folders, `urls` are asked from the start; `points` says whether distribution points are.

    `points_each` bounds the distribution points that one organization's paths may add, `first_fetch_wait` the
    seconds a check waits for one that was never asked. `kept_octets` bounds the CRLs that sources gave, all together,
    on the disk and in shared memory, `memory` what they take in each process, in bytes, `descriptors` how many
    there may be: each process holds a descriptor of each. `mode` is for the certificates that no rule of `exceptions`
    names.
    """

    files: tuple[Path, ...] = ()
    urls: tuple[str, ...] = ()
    points: bool = True
    points_each: int = 64
    first_fetch_wait: float = 0.25
    kept_octets: int = 1024 * MIB
    memory: int = 256 * MIB
    descriptors: int = 2048
    schedule: Schedule = DEFAULT_SCHEDULE
    mode: RevocationMode = HARD_FAIL
    exceptions: tuple[ModeRule, ...] = field(default=())
    hard: bool = field(init=False)
    """Whether every certificate's revocation must be known (hard-fail), without exception."""

    def __post_init__(self) -> None:
        hard = self.mode == HARD_FAIL and all(rule.mode == HARD_FAIL for rule in self.exceptions)
        object.__setattr__(self, "hard", hard)

    @property
    def longest_grace(self) -> timedelta:
        """How long after its nextUpdate a CRL may go on counting for any certificate."""
        return max(mode.grace for mode in (self.mode, *(rule.mode for rule in self.exceptions)))

    def of(self, issuer: Name, organization: str) -> RevocationMode:
        """The mode for a certificate: the most precise rule counts, one that names both before one of the issuer."""
        fitting = [
            rule
            for rule in self.exceptions
            if rule.issuer in (None, issuer) and rule.organization in (None, organization)
        ]
        fitting.sort(key=lambda rule: (rule.issuer is None, rule.organization is None))
        return fitting[0].mode if fitting else self.mode


def modes_of(rules: CrlRules, refused: Collection[CrlSource], organization: Organization) -> ModeOf | None:
    """See `authz.view.View.mode_of`; `refused` are the sources whose last answer was refused."""
    if rules.hard:
        return None

    def of(certificate: Certificate) -> RevocationMode:
        mode = rules.of(certificate.issuer, organization.name)
        if mode.soft and _was_refused(certificate, organization, refused):
            return replace(mode, soft=False)
        return mode

    return of


def _was_refused(certificate: Certificate, organization: Organization, refused: Collection[CrlSource]) -> bool:
    """Whether what should have been the certificate's CRL came, and was refused: that is not a missing one.

    Known by its URL where the certificate names it, or by the issuer in the CRL: for every organization where the
    operator named the source, for those whose paths led there where it is a distribution point.
    """
    urls = urls_of((certificate, certificate)) if refused else ()
    return any(
        source.location in urls
        or (
            (source.kind is not CrlSourceKind.POINT or organization.id in source.authorities)
            and source.may_be_of(certificate.issuer)
        )
        for source in refused
    )
