"""What the operator says about CRLs: where from, how often, and what is let pass while one is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from authz.crls.schedule import Schedule
from authz.pki import HARD_FAIL, RevocationMode
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

    `points_each` bounds the distribution points that one organization's paths may add, `first_sight` the
    seconds a check waits for one that was never asked. `kept_octets` bounds the CRLs that sources gave, all together,
    on the disk and in shared memory, `memory` what they take in each process, in octets, `descriptors` how many
    there may be: each process holds a descriptor of each. `mode` is for
    whomever none of `exceptions` is.
    """

    files: tuple[Path, ...] = ()
    urls: tuple[str, ...] = ()
    points: bool = True
    points_each: int = 64
    first_sight: float = 0.25
    kept_octets: int = 1024 * MIB
    memory: int = 256 * MIB
    descriptors: int = 2048
    schedule: Schedule = DEFAULT_SCHEDULE
    mode: RevocationMode = HARD_FAIL
    exceptions: tuple[ModeRule, ...] = field(default=())

    @property
    def hard(self) -> bool:
        """Whether nothing is let pass, of anybody."""
        return self.mode == HARD_FAIL and all(one.mode == HARD_FAIL for one in self.exceptions)

    @property
    def longest_grace(self) -> timedelta:
        """How long after its nextUpdate a CRL may go on counting for anybody."""
        return max(one.grace for one in (self.mode, *(rule.mode for rule in self.exceptions)))

    def of(self, issuer: Name, organization: str) -> RevocationMode:
        """What is let pass: the most precise rule counts, one that names both before one that names the issuer."""
        fitting = [
            one for one in self.exceptions if one.issuer in (None, issuer) and one.organization in (None, organization)
        ]
        fitting.sort(key=lambda one: (one.issuer is None, one.organization is None))
        return fitting[0].mode if fitting else self.mode
