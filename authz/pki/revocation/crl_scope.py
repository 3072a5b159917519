"""Which CRLs speak for a certificate in its place on a path, as far as time has no say in it.

Scope and signatures never change, so for one store of CRLs the plan of a certificate is made once. What is
too new, superseded, out of date or listed is looked at by every check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from authz.pki.revocation.crl_with_deltas import CrlGroup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from authz.pki.budget import Budget
    from authz.pki.crl.crl import Crl
    from authz.pki.revocation.crl_signers import CrlSigners, Link
    from authz.pki.revocation.crl_store import CrlStore, Shelf
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.distinguished_name import Name
    from authz.pki.x509.distribution_points import Point


class Voice(NamedTuple):
    """CRLs of one key and scope that speak for a certificate at one of its points, for `reasons` (bits)."""

    reasons: int
    crls: tuple[Crl, ...]
    group: CrlGroup
    begins: datetime

    @classmethod
    def of(cls, reasons: int, crls: Iterable[Crl]) -> Voice:
        """The voice of `crls`, all of one key and scope, and at least one."""
        crls = tuple(crls)
        return cls(reasons & crls[0].reasons, crls, CrlGroup.of(crls), max(one.this_update for one in crls))

    def at(self, at: datetime) -> CrlGroup:
        """What of it has begun; a CRL from the future says nothing yet."""
        if self.begins <= at:
            return self.group
        return CrlGroup.of(one for one in self.crls if one.this_update <= at)


class Opening(NamedTuple):
    """A point and CRL issuer under whose name there are CRLs that no key on the path signed; `keys` are those."""

    point: Point
    name: Name
    shelf: Shelf
    keys: frozenset[bytes]


class Plan(NamedTuple):
    """The voices of signers on the path, and where signers beside it may add more."""

    voices: tuple[Voice, ...]
    openings: tuple[Opening, ...]


def plan_of(link: Link, store: CrlStore, signers: CrlSigners, budget: Budget) -> Plan:
    """The plan of one certificate: every point it has, every CRL in scope there (6.3.3 (a), (b) and (g))."""
    voices: list[Voice] = []
    openings: list[Opening] = []
    for point in link.certificate.crl_points:
        for name in point.crl_issuers:
            budget.spend_step()
            shelf = store.under(name)
            if shelf is None:
                continue
            on_path = signers.on_path(name, link)
            signed: set[Crl] = set()
            for signer in on_path:
                mine = signers.signed(signer, shelf.find(point.names, signer.spki_sha256))
                signed.update(mine)
                voices += voices_of(mine, link.certificate, point)
            if not signed.issuperset(shelf.all(point.names)):
                openings.append(Opening(point, name, shelf, frozenset(one.spki_sha256 for one in on_path)))
    return Plan(tuple(voices), tuple(openings))


def voices_of(crls: Iterable[Crl], certificate: Certificate, point: Point) -> Iterator[Voice]:
    """Those of one key that speak for the certificate, by scope."""
    scopes: dict[bytes, list[Crl]] = {}
    for crl in crls:
        if _speaks_for(crl, certificate):
            scopes.setdefault(crl.scope, []).append(crl)
    return (Voice.of(point.reasons, one) for one in scopes.values())


def _speaks_for(crl: Crl, certificate: Certificate) -> bool:
    """6.3.3 (b), but for the names, by which the CRL was found."""
    idp = crl.idp
    if crl.issuer != certificate.issuer and (idp is None or not idp.indirect_crl):  # (b) (1)
        return False
    if idp is None:
        return True
    ca = certificate.extensions.ca
    if (idp.only_contains_user_certs and ca) or (idp.only_contains_ca_certs and not ca):  # (b) (2) (ii) and (iii)
        return False
    return not idp.only_contains_attribute_certs  # (b) (2) (iv)
