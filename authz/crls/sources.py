"""All sources: those the operator named, and the distribution points that paths named, within bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from cryptography import x509

from authz.crls.disk_store import Origin
from authz.crls.fetch.client import Validators
from authz.crls.fetch.url import MAX_URL
from authz.crls.source import Source
from authz.model import CrlSourceKind
from authz.pki import Certificate, Crl

MAX_POINTS: Final = 20_000
"""Distribution points of all organizations."""

POINTS_OF_ALL: Final = 4
"""Points that each organization may have, though others have `MAX_POINTS`."""

MAX_URLS: Final = 16
"""URLs that the certificates of one path may name: with two of each certificate, as in use, several times that."""


class Sources:
    """Sources by location; `points_each` bounds the points of one organization, `warn` is told of the first beyond."""

    def __init__(self, urls: Iterable[str], points_each: int, warn: Callable[[str], None]) -> None:
        self._all = {one: Source(one, CrlSourceKind.URL) for one in urls}
        self._points_each = points_each
        self._warn = warn
        self._points: Counter[int] = Counter()
        self._full: set[int] = set()

    def __iter__(self) -> Iterator[Source]:
        return iter(list(self._all.values()))

    def __getitem__(self, location: str) -> Source:
        return self._all[location]

    def get(self, location: str) -> Source | None:
        """The source of that location, if there is one."""
        return self._all.get(location)

    def file(self, path: Path) -> Source:
        """The source that a file is."""
        return self._all.setdefault(str(path), Source(str(path), CrlSourceKind.FILE))

    def remove(self, source: Source) -> None:
        """The source is none any more; what it gave stays."""
        self._all.pop(source.location, None)

    def restore(self, origin: Origin, crl: Crl, organizations: Collection[int], *, points: bool) -> None:
        """A copy of `crl`, kept across a restart, came from there; whom the operator names no more is not asked.

        `organizations` are those that named it, if it is a point.
        """
        source = self._all.get(origin.url)
        if source is None and points and _was_point(origin) and len(self._all) < MAX_POINTS:
            source = self._all[origin.url] = Source(origin.url, CrlSourceKind.POINT)
            source.authorities = {one: {} for one in organizations}
            self._points.update(organizations)
        if source is not None:
            source.issuer, source.sha256 = crl.issuer, crl.sha256
            source.tried_at = source.accepted_at = origin.fetched_at
            source.validators = Validators(origin.etag, origin.last_modified)

    def meet(self, organization: int, path: list[Certificate]) -> list[Source]:
        """The points of a path (leaf first, anchor last) worth a wait: never tried with these CAs, or tried right now.

        What is beyond the bounds is left out.
        """
        authorities = {one.spki_sha256: one.der for one in path[1:]}
        return [
            source
            for url in urls_of(path)
            if (source := self._point(organization, url)) is not None
            and (source.meet(organization, authorities) or source.tried_at is None or source.flight is not None)
        ]

    def _point(self, organization: int, url: str) -> Source | None:
        source = self._all.get(url)
        if source is not None and (source.kind is not CrlSourceKind.POINT or organization in source.authorities):
            return source
        full = source is None and len(self._all) >= MAX_POINTS and self._points[organization] >= POINTS_OF_ALL
        if full or self._points[organization] >= self._points_each:
            self._tell_full(organization)
            return None
        self._points[organization] += 1
        return self._all.setdefault(url, source or Source(url, CrlSourceKind.POINT))

    def leave(self, source: Source, organization: int) -> None:
        """The organization does not name the source any more, and its CAs sign nothing that comes from there."""
        del source.authorities[organization]
        if source.kind is CrlSourceKind.POINT:
            self._points[organization] -= 1
            self._full.discard(organization)
            if not self._points[organization]:
                del self._points[organization]

    def _tell_full(self, organization: int) -> None:
        if organization not in self._full:
            self._full.add(organization)
            self._warn(
                f"organization {organization}: more points than crl.distribution_points_each ({self._points_each}); "
                "certificates that name others are refused"
            )


def _was_point(origin: Origin) -> bool:
    return not origin.named and origin.url.startswith(("http://", "https://"))


def urls_of(path: Iterable[Certificate]) -> list[str]:
    """The URLs of http and https in the distribution points of a path, of complete CRLs and of deltas; none twice.

    One that is too long to be asked is none.
    """
    points: list[x509.DistributionPoint] = []
    for one in list(path)[:-1]:
        points += one.extensions.distribution_points
        points += one.extensions.freshest_crl
    if not points:
        return []
    found: dict[str, None] = {}
    for point in points:
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier) and len(name.value) <= MAX_URL:
                found[name.value] = None
    # RFC 5280 section 4.2.1.13 knows others too: LDAP is not asked.
    return [url for url in found if url.lower().startswith(("http://", "https://"))][:MAX_URLS]
