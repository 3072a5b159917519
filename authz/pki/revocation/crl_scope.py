"""Which CRLs are applicable to a certificate in its position on a path, apart from dates (RFC 5280 section 6.3.3).

Scope and signatures never change, so the plan of a certificate is made once for a store of CRLs. Dates, deltas and
entries are looked at by every check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from authz.pki.revocation.crl_with_deltas import CrlSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from authz.pki.budget import Budget
    from authz.pki.crl.crl import Crl
    from authz.pki.revocation.crl_signers import CrlSigners, PathPosition
    from authz.pki.revocation.crl_store import CrlsByIssuer, CrlStore
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.distinguished_name import Name
    from authz.pki.x509.distribution_points import Point


class ApplicableCrls(NamedTuple):
    """The CRLs of one signing key and scope that are applicable to a certificate at one of its distribution points.

    `reasons` are the reason codes they cover there (bits), `begins` is when all of them have begun.
    """

    reasons: int
    crls: tuple[Crl, ...]
    crl_set: CrlSet
    begins: datetime

    @classmethod
    def of(cls, reasons: int, crls: Iterable[Crl]) -> ApplicableCrls:
        """Those of `crls`, all of one key and scope, and at least one; `reasons` are the distribution point's."""
        crls = tuple(crls)
        return cls(reasons & crls[0].reasons, crls, CrlSet.of(crls), max(crl.this_update for crl in crls))

    def at(self, at: datetime) -> CrlSet:
        """The CRLs that have begun by `at`; from `begins` on they are `crl_set`."""
        return CrlSet.of(crl for crl in self.crls if crl.this_update <= at)


class IndirectCandidate(NamedTuple):
    """A distribution point, and a CRL issuer's name with CRLs there that no key on the path signed.

    `keys` are those on the path, by SHA-256: a certificate with another key may turn out to be the signer.
    """

    point: Point
    name: Name
    crls: CrlsByIssuer
    keys: frozenset[bytes]


class RevocationPlan(NamedTuple):
    """The applicable CRLs of signers on the path, and where signers beside it may add more."""

    applicable: tuple[ApplicableCrls, ...]
    candidates: tuple[IndirectCandidate, ...]


def plan_of(position: PathPosition, store: CrlStore, signers: CrlSigners, budget: Budget) -> RevocationPlan:
    """The plan of one certificate: each of its distribution points, each CRL in scope there."""
    applicable: list[ApplicableCrls] = []
    candidates: list[IndirectCandidate] = []
    for point in position.certificate.crl_points:
        for name in point.crl_issuers:
            budget.spend_step()
            by_issuer = store.under(name)
            if by_issuer is None:
                continue
            on_path = signers.on_path(name, position)
            signed: set[Crl] = set()
            for signer in on_path:
                crls = signers.signed(signer, by_issuer.find(point.names, signer.plain_spki_sha256, signer.spki_sha256))
                signed.update(crls)
                applicable += applicable_crls(crls, position.certificate, point)
            if not signed.issuperset(by_issuer.all(point.names)):
                keys = frozenset(signer.spki_sha256 for signer in on_path)
                candidates.append(IndirectCandidate(point, name, by_issuer, keys))
    return RevocationPlan(tuple(applicable), tuple(candidates))


def applicable_crls(crls: Iterable[Crl], certificate: Certificate, point: Point) -> Iterator[ApplicableCrls]:
    """Those of `crls`, all of one key, that are applicable to the certificate, by scope."""
    scopes: dict[bytes, list[Crl]] = {}
    for crl in crls:
        if not scope_failure(crl, certificate):
            scopes.setdefault(crl.scope, []).append(crl)
    return (ApplicableCrls.of(point.reasons, same_scope) for same_scope in scopes.values())


def scope_failure(crl: Crl, certificate: Certificate) -> str:
    """6.3.3 (b), except the names, by which the CRL was found: what keeps it from being applicable; empty if it is."""
    idp = crl.idp
    if crl.issuer != certificate.issuer and (idp is None or not idp.indirect_crl):  # (b) (1)
        return f"is of {crl.issuer.text}, and not indirect"
    if idp is None:
        return ""
    ca = certificate.extensions.ca
    if idp.only_contains_user_certs and ca:  # (b) (2) (ii)
        return "is for users' certificates alone, and this is a CA's"
    if idp.only_contains_ca_certs and not ca:  # (b) (2) (iii)
        return "is for CA certificates alone"
    return "is for attribute certificates alone" if idp.only_contains_attribute_certs else ""  # (b) (2) (iv)
