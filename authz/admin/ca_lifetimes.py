"""When certificates below an organization's CAs verify: by the dates of the CAs and of CRLs, whatever is in a CRL."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from authz.directory.end_columns import SECOND
from authz.directory.rows import split_chain
from authz.errors import Refused
from authz.pki import Certificate
from authz.pki.path.validator import signature_refusal
from authz.pki.x509.distinguished_name import Name

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


_NONE: Final[Mapping[bytes, Certificate]] = MappingProxyType({})

NOTHING: Final = b"nothing"
"""Stands for what has ended, where nothing has."""


def micros(moment: datetime) -> int:
    """A moment as the directory's columns have it."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def read_cas(chain: bytes, known: Mapping[bytes, Certificate] = _NONE) -> list[Certificate]:
    """The CAs of a stored chain that can be read; those that are `known`, by their SHA-256, are not read again."""
    cas = []
    with suppress(ValueError):
        for der in split_chain(chain):
            ca = known.get(hashlib.sha256(der).digest())
            with suppress(Refused):
                cas.append(Certificate.parse(der) if ca is None else ca)
    return [ca for ca in cas if ca.sha256 in known or is_readable(ca)]


def is_readable(ca: Certificate) -> bool:
    """Whether all that is looked at here can be read: one tenant's CA is to spoil no other's answer."""
    try:
        ca.subject, ca.issuer, ca.subject_key_id, ca.not_before, ca.not_after  # noqa: B018 - each raises late
    except Refused:
        return False
    return True


def reached(tops: Collection[Certificate], known: Collection[Certificate]) -> list[Certificate]:
    """The CAs to which a path leads down from one of `tops`, these among them."""
    cas = list(tops)
    seen = {ca.sha256 for ca in cas}
    for above in cas:
        below = [ca for ca in known if ca.sha256 not in seen and _issued(ca, above)]
        seen.update(ca.sha256 for ca in below)
        cas += below
    return cas


@lru_cache(4_096)
def _issued(ca: Certificate, above: Certificate) -> bool:
    return ca.issuer == above.subject and signature_refusal(ca, above) is None


@lru_cache(4_096)
def read_name(der: bytes) -> Name | None:
    """A name in DER; None if it cannot be read."""
    try:
        return Name.read(der)
    except ValueError:
        return None


def is_issuer(ca: Certificate, issuer: Name | None, key_id: bytes | None) -> bool:
    """Whether a certificate with that name of its issuer, and that identifier of its key, may be the CA's."""
    keys = {ca.subject_key_id, key_id}
    return issuer == ca.subject and (None in keys or len(keys) == 1)


class CrlEnd(NamedTuple):
    """A CRL that does not come by itself: of that key, until `end`, about leaves, about CAs, or both."""

    signer: bytes
    end: int
    leaves: bool
    cas: bool


class Below(NamedTuple):
    """Where a certificate stands: below a CA of this name and key identifier.

    `beside` are CAs that come with it, by their SHA-256; `anchor` is the only one whose path counts, None for any.
    `above` is set where the CA itself is not known: it stands below that one, with `beside` between them; `anywhere`
    where the certificate is not known, as of a key or a name that was registered without one: below whatever CA.
    """

    issuer: Name | None
    key_id: bytes | None
    beside: tuple[bytes, ...] = ()
    anchor: bytes | None = None
    above: bool = False
    anywhere: bool = False


def _may_issue(ca: Certificate, below: Below) -> bool:
    return below.anywhere or is_issuer(ca, below.issuer, below.key_id)


class CaLifetimes:
    """Of one organization: its `anchors` and `known` CAs, those that came with certificates, and CRLs by signer.

    A key without a CRL among `crls` has one that comes by itself, or needs none.
    """

    def __init__(
        self,
        anchors: Sequence[Certificate],
        known: Sequence[Certificate],
        brought: Mapping[bytes, Certificate],
        crls: Mapping[bytes, Sequence[CrlEnd]],
    ) -> None:
        self._anchors = anchors
        self._known = known
        self._brought = brought
        self._crls = crls
        self._moments: dict[tuple[bytes, ...], list[int]] = {}
        self._alive: dict[tuple[object, ...], list[Certificate]] = {}
        self._live: dict[tuple[object, ...], bool] = {}
        self._above: dict[Below, tuple[list[Certificate], list[Certificate]]] = {}

    def live(self, below: Below, at: int, ended: object = None) -> bool:
        """Whether a path leads from there to an anchor at `at`; with `ended`, if that had ended and nothing else."""
        at = self._last_change(below.beside, at)
        key = below, at, ended
        if key not in self._live:
            self._live[key] = self._leads_up(below, at, ended)
        return self._live[key]

    def needs(self, below: Below, at: int, ended: object) -> bool:
        """Whether no path leads up from there without that, whatever else has ended by `at`."""
        return self.live(below, at, NOTHING) and not self.live(below, at, ended)

    def stops(self, below: Below, end: int, ended: object) -> bool:
        """Whether no path leads up from there because of what ends at `end`: since then, or by that alone."""
        if self.live(below, end) or not (self.live(below, end - 1) or self.needs(below, end, ended)):
            return False
        # What else ends at that very moment, as CRLs do that are made together, stops no one who is not below it.
        return self.stands_above(below, ended)

    def stands_above(self, below: Below, ended: object) -> bool:
        """Whether that is a CA, or the CRL of one, to which a path leads up from there at whatever time."""
        if below not in self._above:
            self._above[below] = self._issuers(below)
        first, every = self._above[below]
        if not isinstance(ended, CrlEnd):
            return any(ca.sha256 == ended for ca in every)
        about = (*(first if ended.leaves else ()), *(every if ended.cas else ()))
        return any(signer_of_crls(ca) == ended.signer for ca in about)

    def _issuers(self, below: Below) -> tuple[list[Certificate], list[Certificate]]:
        """The CAs that may have issued what stands there, and all above it, these among them."""
        beside = [self._brought[digest] for digest in below.beside if digest in self._brought]
        known = list({ca.sha256: ca for ca in (*self._known, *self._anchors, *beside)}.values())
        first = [ca for ca in known if _may_issue(ca, below)]
        every, seen = list(first), {ca.sha256 for ca in first}
        for ca in every:
            above = [other for other in known if other.sha256 not in seen and _issued(ca, other)]
            seen.update(other.sha256 for other in above)
            every += above
        if not below.above:
            return first, every
        return [ca for ca in beside if ca.sha256 == below.beside[0]], [*beside, *every]

    def _last_change(self, beside: tuple[bytes, ...], at: int) -> int:
        """The last moment up to `at` at which a CA or a CRL begins or ends: since then nothing has changed."""
        moments = self._moments.get(beside)
        if moments is None:
            cas = [
                *self._anchors,
                *self._known,
                *(self._brought[sha256] for sha256 in beside if sha256 in self._brought),
            ]
            changes = {moment for ca in cas for moment in _changes(ca, self._crls.get(signer_of_crls(ca), ()))}
            moments = self._moments[beside] = sorted(changes)
        number = bisect_right(moments, at)
        return moments[number - 1] if number else -1

    def _leads_up(self, below: Below, at: int, ended: object) -> bool:
        if below.above and not self._between(below.beside, at, ended):
            return False
        return any(
            _may_issue(ca, below) and self._has_crl(ca, at, ended, leaves=not below.above)
            for ca in self._alive_at(at, ended, below.beside, below.anchor)
        )

    def _between(self, beside: tuple[bytes, ...], at: int, ended: object) -> bool:
        """Whether the CAs between a leaf and the first one above an unknown one are good, as far as they are known."""
        return all(
            _is_valid(ca, at, ended) and self._has_crl(ca, at, ended, leaves=digest == beside[0])
            for digest in beside
            if (ca := self._brought.get(digest)) is not None
        )

    def _alive_at(self, at: int, ended: object, beside: tuple[bytes, ...], anchor: bytes | None) -> list[Certificate]:
        """The CAs from which a path leads to an anchor."""
        key = at, ended, beside, anchor
        if key not in self._alive:
            tops = [ca for ca in self._anchors if anchor in {None, ca.sha256} and _is_valid(ca, at, ended)]
            brought = (self._brought[digest] for digest in beside if digest in self._brought)
            known = [ca for ca in (*self._known, *self._anchors, *brought) if _is_valid(ca, at, ended)]
            self._alive[key] = list(self._down(tops, known, at, ended))
        return self._alive[key]

    def _down(
        self, tops: Sequence[Certificate], known: Sequence[Certificate], at: int, ended: object
    ) -> Iterator[Certificate]:
        """Through CAs of which a CRL says whether those below them are revoked."""
        cas, seen = list(tops), {ca.sha256 for ca in tops}
        for above in cas:
            yield above
            if self._has_crl(above, at, ended, leaves=False):
                below = [ca for ca in known if ca.sha256 not in seen and _issued(ca, above)]
                seen.update(ca.sha256 for ca in below)
                cas += below

    def _has_crl(self, ca: Certificate, at: int, ended: object, *, leaves: bool) -> bool:
        crls = [crl for crl in self._crls.get(signer_of_crls(ca), ()) if (crl.leaves if leaves else crl.cas)]
        return not crls or any(crl != ended if ended is not None else at < crl.end for crl in crls)


def signer_of_crls(ca: Certificate) -> bytes:
    """The SHA-256 of its key, by which CRLs are filed; empty if that cannot be read."""
    try:
        return ca.plain_spki_sha256
    except Refused:
        return b""


def _changes(ca: Certificate, crls: Iterable[CrlEnd]) -> Iterator[int]:
    yield micros(ca.not_before)
    yield micros(ca.not_after) + SECOND
    yield from (crl.end for crl in crls)


def _is_valid(ca: Certificate, at: int, ended: object) -> bool:
    """At that moment; with `ended`, whatever its own end."""
    if ended is not None:
        return ca.sha256 != ended and micros(ca.not_before) <= at
    return micros(ca.not_before) <= at < micros(ca.not_after) + SECOND


def by_digest(cas: Iterable[Certificate]) -> dict[bytes, Certificate]:
    """CAs by their SHA-256."""
    return {ca.sha256: ca for ca in cas}
