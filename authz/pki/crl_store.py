"""The CRLs at hand, by the name of their issuer. Immutable: one more CRL makes another store.

A CRL is known by issuer name, signing key and scope. The key is not known before the signature was
verified, so the store keeps every CRL of a name, and `current` picks among those one key signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.algorithms import verify_signature
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from authz.pki.certificate import Certificate
    from authz.pki.crl import Crl
    from authz.pki.names import Name


class CrlStore:
    """CRLs, complete and delta, found by issuer name."""

    def __init__(self, crls: Iterable[Crl] = ()) -> None:
        self._by_issuer: dict[Name, tuple[Crl, ...]] = {}
        for one in {one.sha256: one for one in crls}.values():
            self._by_issuer[one.issuer] = (*self._by_issuer.get(one.issuer, ()), one)

    def of(self, issuer: Name) -> tuple[Crl, ...]:
        """Every CRL of that issuer name, complete and delta, whoever signed it."""
        return self._by_issuer.get(issuer, ())

    def with_crl(self, crl: Crl) -> CrlStore:
        """A store that holds `crl` as well."""
        other = CrlStore()
        other._by_issuer = dict(self._by_issuer)
        if crl.sha256 not in {one.sha256 for one in self.of(crl.issuer)}:
            other._by_issuer[crl.issuer] = (*self.of(crl.issuer), crl)
        return other

    def __iter__(self) -> Iterator[Crl]:
        return (one for crls in self._by_issuer.values() for one in crls)

    def __len__(self) -> int:
        return sum(map(len, self._by_issuer.values()))


def current(crls: Iterable[Crl]) -> list[Crl]:
    """Those of `crls`, all of one issuer, key and scope, that no other supersedes."""
    crls = list(crls)
    return [one for one in crls if not any(other.supersedes(one) for other in crls)]


def may_sign_crls(certificate: Certificate) -> bool:
    """Whether key usage lets the certificate's key sign CRLs (RFC 5280 section 6.3.3 (f))."""
    usage = certificate.extensions.key_usage
    return usage is None or "cRLSign" in usage


def could_be_signed_by(crl: Crl, signer: Certificate) -> bool:
    """Whether the key identifiers do not rule `signer` out (RFC 5280 section 5.2.1 has them equal)."""
    wanted, found = crl.authority_key_id, signer.extensions.subject_key_id
    return wanted is None or found is None or wanted == found


def signer_of(crl: Crl, candidates: Iterable[Certificate]) -> Certificate:
    """The certificate among `candidates` whose key signed `crl`: its subject is the CRL's issuer, and it may sign CRLs.

    Proves nothing about the signer itself. Raises `Refused` (revocation_unknown) when it is none of them.
    """
    for one in candidates:
        if one.subject != crl.issuer or not could_be_signed_by(crl, one) or not may_sign_crls(one):
            continue
        try:
            verify_signature(one.public_key, crl.signed)
        except Refused:
            continue
        return one
    raise Refused(Reason.REVOCATION_UNKNOWN, f"no known CA signed the CRL of {crl.issuer.text}")
