"""One place that CRLs come from, and how it fares."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from authz.crls.failures import FailureKind
from authz.crls.fetch.client import Validators
from authz.model import CrlSourceKind, CrlSourceState
from authz.pki.x509.distinguished_name import Name

MAX_AUTHORITIES: Final = 16
"""CAs that one organization's paths may name as those who sign what a distribution point gives: a CA has one or two."""

ACCEPTED: Final = "accepted"
UNCHANGED: Final = "unchanged"


@dataclass(eq=False, slots=True)
class Source:
    """A source; `authorities` has, for each organization whose paths led here, the CAs of those paths by key, in DER.

    `issuer` is the name in the CRL that it gave last and that was accepted, `claimed` in one that was refused since, as
    far as it could be read. `sha256` is of the CRL that it gave last, to which its `validators` belong. `flight` is
    the try under way, `awaited` whether a check waits for it, or did, `late` whether it did so in vain, `gone` whether
    the source is none any more.
    """

    location: str
    kind: CrlSourceKind
    tried_at: datetime | None = None
    accepted_at: datetime | None = None
    next_at: datetime | None = None
    failures: int = 0
    outcome: str = ""
    detail: str = ""
    validators: Validators | None = None
    sha256: bytes = b""
    issuer: Name | None = None
    claimed: Name | None = None
    authorities: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    flight: asyncio.Task[None] | None = None
    awaited: bool = False
    late: bool = False
    gone: bool = False
    _state: CrlSourceState | None = None

    @property
    def state(self) -> CrlSourceState:
        """What an operator wants to know of it: the same object until something of it changes."""
        last = self._state
        if last is None or _told_in(last) != _told_in(self):
            last = self._state = CrlSourceState(self.location, self.kind, *_told_in(self))
        return last

    @property
    def organizations(self) -> Collection[int]:
        """Those whose paths led to a distribution point; none for what the operator named."""
        return self.authorities.keys() if self.kind is CrlSourceKind.POINT else ()

    @property
    def known(self) -> int:
        """How many CAs the paths have that led here, those of each organization for themselves."""
        return sum(map(len, self.authorities.values()))

    @property
    def refused(self) -> bool:
        """Whether what it gave last was refused, rather than not to be had."""
        return self.failures > 0 and self.outcome in _OF_CONTENT

    def may_be_of(self, issuer: Name) -> bool:
        """Whether what it gives may be meant as the CRL of `issuer`; a URL that never said whose may mean anybody's."""
        if self.issuer is None and self.claimed is None:
            return self.kind is CrlSourceKind.URL
        return issuer in (self.issuer, self.claimed)

    def meet(self, organization: int, authorities: dict[bytes, bytes]) -> bool:
        """A path of the organization led here: whether any of its CAs is new, and the source worth another try."""
        known = self.authorities.setdefault(organization, {})
        new = {key: der for key, der in authorities.items() if key not in known}
        room = MAX_AUTHORITIES - len(known)
        known.update(list(new.items())[:room])
        return bool(new) and room > 0

    def succeeded(self, outcome: str, now: datetime, detail: str = "") -> None:
        """It gave what is held now."""
        self.tried_at = self.accepted_at = now
        self.outcome, self.detail, self.failures = outcome, detail, 0

    def failed(self, kind: FailureKind, detail: str, now: datetime) -> None:
        """It gave nothing that is held."""
        self.tried_at = now
        self.outcome, self.detail = str(kind), detail
        self.failures += 1


def _told_in(one: Source | CrlSourceState) -> tuple[datetime | None, datetime | None, datetime | None, int, str, str]:
    return one.tried_at, one.accepted_at, one.next_at, one.failures, one.outcome, one.detail


_OF_CONTENT: Final = frozenset(str(one) for one in FailureKind if one.of_content)
