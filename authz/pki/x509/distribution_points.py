"""Distribution points (RFC 5280 sections 4.2.1.13 and 5.2.5): where, by whom and for which reasons a CRL is issued."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from cryptography import x509

from authz.errors import Refused
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.uri import normalized
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Names = frozenset[object]
"""Names of a distribution point, comparable: a `Name` for a directory name, the library's object for any other, of a
URI with its one spelling."""

# The bits of ReasonFlags (RFC 5280 section 4.2.1.13), but for bit 0, which stands for no reason.
_REASON_BITS: Final = {
    x509.ReasonFlags.key_compromise: 1 << 1,
    x509.ReasonFlags.ca_compromise: 1 << 2,
    x509.ReasonFlags.affiliation_changed: 1 << 3,
    x509.ReasonFlags.superseded: 1 << 4,
    x509.ReasonFlags.cessation_of_operation: 1 << 5,
    x509.ReasonFlags.certificate_hold: 1 << 6,
    x509.ReasonFlags.privilege_withdrawn: 1 << 7,
    x509.ReasonFlags.aa_compromise: 1 << 8,
}

ALL_REASONS: Final = sum(_REASON_BITS.values())
"""Every reason a distribution point or CRL can be limited to, as bits."""

MAX_POINT_NAMES: Final = 200
"""Names in all distribution points of a certificate, each of which costs a look-up: one to four are usual."""

MAX_CACHED: Final = 1_024
"""Bytes of the names in a certificate's distribution points that caches accept as a key; 100 are usual."""


@dataclass(frozen=True, slots=True)
class Point:
    """A distribution point as section 6.3.3 uses it: its names, the issuers of its CRLs, its reasons as bits."""

    names: Names
    crl_issuers: tuple[Name, ...]
    reasons: int


class Points(tuple[Point, ...]):  # noqa: SLOT001 - a tuple cannot have slots
    """The points of a certificate, which serve as a key of caches: the hash is computed once."""

    _hash: int

    @cached_property
    def small(self) -> bool:
        """Whether caches accept them as a key: a hostile CA can state any number of names."""
        return sum(_size(name) for point in self for name in (*point.names, *point.crl_issuers)) <= MAX_CACHED

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            self._hash = super().__hash__()
            return self._hash


def _size(name: object) -> int:
    return name.size if isinstance(name, Name) else len(repr(name))


def points_of(
    stated: Iterable[x509.DistributionPoint], issuer: Name, alternative: Sequence[x509.GeneralName] = ()
) -> Points:
    """The points of a certificate of `issuer`: the stated ones, then the implied one.

    6.3.3, last paragraph: CRLs that the issuer publishes under its own name, or one of its `alternative` names in the
    certificate, apply to every certificate. An alternative name that cannot be compared, or is beyond the bound,
    matches nothing. Raises `Refused` (budget_exceeded).
    """
    stated = tuple(stated)
    room = MAX_POINT_NAMES - sum(len(point.full_name or ()) + len(point.crl_issuer or ()) for point in stated)
    if room < 0:
        raise Refused(Reason.BUDGET_EXCEEDED, f"more than {MAX_POINT_NAMES} names of distribution points")
    names = _readable(alternative[:room]) if alternative else ()
    implied = Point(frozenset((issuer, *names)), (issuer,), ALL_REASONS)
    return Points((*(_point(point, issuer) for point in stated), implied))


def _point(stated: x509.DistributionPoint, issuer: Name) -> Point:
    delegates = directory_names(stated.crl_issuer or ())
    # 4.2.1.13: cRLIssuer, if present, holds a directory name. If it holds none, no CRL is accepted for the point.
    issuers = (issuer,) if stated.crl_issuer is None else delegates
    names = comparable(stated.full_name, stated.relative_name, issuers)
    # 6.3.3 (b) (2) (i): a point without a name of its own is compared by the names of its CRL issuers.
    return Point(names or frozenset(delegates), issuers, reasons_of(stated.reasons))


def directory_names(names: Iterable[x509.GeneralName]) -> tuple[Name, ...]:
    """The directory names among `names`."""
    return tuple(Name(name.value) for name in names if isinstance(name, x509.DirectoryName))


def comparable(
    full: Iterable[x509.GeneralName] | None, relative: x509.RelativeDistinguishedName | None, issuers: Iterable[Name]
) -> Names:
    """The names of a distribution point; a relative name is appended to those of its issuers (4.2.1.13)."""
    if relative is not None:
        return frozenset(issuer.extended(relative) for issuer in issuers)
    return frozenset(map(_comparable, full or ()))


def _readable(names: Iterable[x509.GeneralName]) -> Iterator[object]:
    for name in names:
        with suppress(ValueError):
            yield _comparable(name)


def _comparable(name: x509.GeneralName) -> object:
    return Name(name.value) if isinstance(name, x509.DirectoryName) else _in_one_spelling(name)


def _in_one_spelling(name: x509.GeneralName) -> x509.GeneralName:
    if not isinstance(name, x509.UniformResourceIdentifier):
        return name
    uri = normalized(name.value)
    return name if uri == name.value else x509.UniformResourceIdentifier(uri)


def scope_of(point: x509.IssuingDistributionPoint) -> bytes:
    """The DER of an issuing distribution point, its URIs in one spelling: CRLs of one scope are ordered by it."""
    names = None if point.full_name is None else list(map(_in_one_spelling, point.full_name))
    if names == point.full_name:
        return point.public_bytes()
    return x509.IssuingDistributionPoint(
        names,
        None,
        point.only_contains_user_certs,
        point.only_contains_ca_certs,
        point.only_some_reasons,
        point.indirect_crl,
        point.only_contains_attribute_certs,
    ).public_bytes()


def reasons_of(stated: Iterable[x509.ReasonFlags] | None) -> int:
    """The bits of the reasons stated, all of them if the field is absent."""
    return ALL_REASONS if stated is None else sum(_REASON_BITS.get(flag, 0) for flag in set(stated))
