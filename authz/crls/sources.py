"""What to ask for CRLs: the operator's files and URLs, and the distribution points that verified paths named."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from authz.crls.disk_store import FetchRecord
from authz.crls.failures import FailureKind
from authz.crls.fetch.client import Validators
from authz.crls.fetch.url import MAX_URL
from authz.model import CrlSourceKind, CrlSourceState
from authz.pki import Certificate, Crl
from authz.pki.x509.distinguished_name import Name

MAX_AUTHORITIES: Final = 16
"""CAs that one organization's paths may name as those who sign what a distribution point gives: a CA has one or two."""

ACCEPTED: Final = "accepted"
UNCHANGED: Final = "unchanged"


@dataclass(eq=False, slots=True)
class CrlSource:
    """A source; `authorities` has, for each organization whose paths led here, the CAs of those paths by key, in DER.

    `issuer` is the name in the CRL that it gave last and that was accepted, `claimed` in one that was refused since, as
    far as it could be read. `sha256` is of the CRL that it gave last, to which its `validators` belong. `job` is
    the try under way, `awaited` whether a check waits for it, or did, `late` whether it did so in vain, `gone` whether
    it was removed. `state` is what an operator wants to know of it.
    """

    location: str
    kind: CrlSourceKind
    validators: Validators | None = None
    sha256: bytes = b""
    issuer: Name | None = None
    claimed: Name | None = None
    authorities: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    job: asyncio.Task[None] | None = None
    awaited: bool = False
    late: bool = False
    gone: bool = False
    state: CrlSourceState = field(init=False)

    def __post_init__(self) -> None:
        self.state = CrlSourceState(self.location, self.kind)

    def note(self, **changes: Any) -> None:
        """Change fields of `state`."""
        self.state = replace(self.state, **changes)

    @property
    def next_at(self) -> datetime | None:
        """When it is due; None for a file until it changes."""
        return self.state.next_at

    @next_at.setter
    def next_at(self, at: datetime | None) -> None:
        self.note(next_at=at)

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
        """Whether what it gave last was refused, rather than unavailable."""
        return self.state.failures > 0 and self.state.outcome in _OF_CONTENT

    def may_be_of(self, issuer: Name) -> bool:
        """Whether what it gives may be meant as the CRL of `issuer`; of a URL that never gave one, any issuer's."""
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
        self.note(tried_at=now, accepted_at=now, outcome=outcome, detail=detail, failures=0)

    def failed(self, kind: FailureKind, detail: str, now: datetime) -> None:
        """It gave nothing that is held."""
        self.note(tried_at=now, outcome=str(kind), detail=detail, failures=self.state.failures + 1)


_OF_CONTENT: Final = frozenset(str(kind) for kind in FailureKind if kind.of_content)


MAX_POINTS: Final = 20_000
"""Distribution points of all organizations."""

POINTS_OF_ALL: Final = 4
"""Points that each organization may have, though others have `MAX_POINTS`."""

MAX_URLS: Final = 16
"""URLs that the certificates of one path may name: with two of each certificate, as in use, several times that."""


class CrlSources:
    """Sources by location; `points_each` bounds the points of one organization, `warn` reports the first beyond."""

    def __init__(self, urls: Iterable[str], points_each: int, warn: Callable[[str], None]) -> None:
        self._all = {url: CrlSource(url, CrlSourceKind.URL) for url in urls}
        self._points_each = points_each
        self._warn = warn
        self._points: Counter[int] = Counter()
        self._full: set[int] = set()

    def __iter__(self) -> Iterator[CrlSource]:
        return iter(list(self._all.values()))

    def __getitem__(self, location: str) -> CrlSource:
        return self._all[location]

    def get(self, location: str) -> CrlSource | None:
        """The source of that location, if there is one."""
        return self._all.get(location)

    def file(self, path: Path) -> CrlSource:
        """The source that a file is."""
        return self._all.setdefault(str(path), CrlSource(str(path), CrlSourceKind.FILE))

    def remove(self, source: CrlSource) -> None:
        """Ask the source no more; what it gave stays."""
        self._all.pop(source.location, None)

    def restore(self, origin: FetchRecord, crl: Crl, organizations: Collection[int], *, points: bool) -> None:
        """A copy of `crl`, kept across a restart, came from there; whom the operator names no more is not asked.

        `organizations` are those that named it, if it is a point.
        """
        source = self._all.get(origin.url)
        if source is None and points and _was_point(origin) and len(self._all) < MAX_POINTS:
            source = self._all[origin.url] = CrlSource(origin.url, CrlSourceKind.POINT)
            source.authorities = {organization: {} for organization in organizations}
            self._points.update(organizations)
        if source is not None:
            source.issuer, source.sha256 = crl.issuer, crl.sha256
            source.note(tried_at=origin.fetched_at, accepted_at=origin.fetched_at)
            source.validators = Validators(origin.etag, origin.last_modified)

    def meet(self, organization: int, path: list[Certificate]) -> list[CrlSource]:
        """The points of a path (leaf first, anchor last) worth a wait: never tried with these CAs, or tried right now.

        What is beyond the bounds is left out.
        """
        authorities = {certificate.plain_spki_sha256: certificate.der for certificate in path[1:]}
        return [
            source
            for url in urls_of(path)
            if (source := self._point(organization, url)) is not None
            and (source.meet(organization, authorities) or source.state.tried_at is None or source.job is not None)
        ]

    def _point(self, organization: int, url: str) -> CrlSource | None:
        source = self._all.get(url)
        if source is not None and (source.kind is not CrlSourceKind.POINT or organization in source.authorities):
            return source
        full = source is None and len(self._all) >= MAX_POINTS and self._points[organization] >= POINTS_OF_ALL
        if full or self._points[organization] >= self._points_each:
            self._warn_full(organization)
            return None
        self._points[organization] += 1
        return self._all.setdefault(url, source or CrlSource(url, CrlSourceKind.POINT))

    def leave(self, source: CrlSource, organization: int) -> None:
        """The organization does not name the source any more, and its CAs sign nothing that comes from there."""
        del source.authorities[organization]
        if source.kind is CrlSourceKind.POINT:
            self._points[organization] -= 1
            self._full.discard(organization)
            if not self._points[organization]:
                del self._points[organization]

    def _warn_full(self, organization: int) -> None:
        if organization not in self._full:
            self._full.add(organization)
            self._warn(
                f"organization {organization}: more points than crl.distribution_points_each ({self._points_each}); "
                "certificates that name others are refused"
            )


def _was_point(origin: FetchRecord) -> bool:
    return not origin.named and origin.url.startswith(("http://", "https://"))


def _can_be_asked(url: str) -> bool:
    return len(url) <= MAX_URL and url.isprintable()


def urls_of(path: Iterable[Certificate]) -> list[str]:
    """The URLs of http and https in the distribution points of a path, of complete CRLs and of deltas; none twice.

    One that cannot be asked, being too long or not printable, is left out: it would stand in the directory, and over
    PostgreSQL one with NUL would keep the state of all others out of it.
    """
    points: list[x509.DistributionPoint] = []
    for certificate in list(path)[:-1]:
        points += certificate.extensions.distribution_points
        points += certificate.extensions.freshest_crl
    if not points:
        return []
    urls: dict[str, None] = {}
    for point in points:
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier) and _can_be_asked(name.value):
                urls[name.value] = None
    # RFC 5280 section 4.2.1.13 knows others too: LDAP is not asked.
    return [url for url in urls if url.lower().startswith(("http://", "https://"))][:MAX_URLS]
