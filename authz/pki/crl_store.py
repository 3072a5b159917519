"""The CRLs at hand. Immutable: one more CRL makes another store.

A CRL is known by issuer name, signing key and scope. The key is proven by the signature alone; where
whoever keeps the CRLs remembers it, a look-up passes over the CRLs of other keys, so that the CAs of two
tenants that share a name do not even cost each other time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.algorithms import verify_signature
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from authz.pki.certificate import Certificate
    from authz.pki.crl import Crl
    from authz.pki.names import Name

    Slot = tuple[Name, object, bytes | None]


class CrlStore:
    """CRLs, complete and delta, found by issuer name, name of the distribution point, and key.

    `signers` maps the SHA-256 of a CRL to the key (`Certificate.spki`) that is said to have signed it.
    It narrows what is looked at and proves nothing: a wrong key makes the CRL silent, never trusted.
    """

    def __init__(self, crls: Iterable[Crl] = (), signers: Mapping[bytes, bytes] | None = None) -> None:
        self._crls: dict[bytes, Crl] = {}
        self._slots: dict[Slot, tuple[Crl, ...]] = {}
        for one in crls:
            self._add(one, (signers or {}).get(one.sha256))

    def _add(self, crl: Crl, signer: bytes | None) -> None:
        if crl.sha256 in self._crls:
            return
        self._crls[crl.sha256] = crl
        for name in crl.names or (None,):
            slot = (crl.issuer, name, signer)
            self._slots[slot] = (*self._slots.get(slot, ()), crl)

    def find(self, issuer: Name, names: Iterable[object], spki: bytes) -> list[Crl]:
        """The CRLs of `issuer` that the key may have signed, for a distribution point that has one of `names`.

        Those without a name of their own are for every point (RFC 5280 section 6.3.3 (b) (2) (i)).
        """
        found: dict[bytes, Crl] = {}
        for name in (None, *names):
            for signer in (spki, None):
                for one in self._slots.get((issuer, name, signer), ()):
                    found[one.sha256] = one
        return list(found.values())

    def with_crl(self, crl: Crl, signer: bytes | None = None) -> CrlStore:
        """A store that holds `crl` as well."""
        other = CrlStore()
        other._crls, other._slots = dict(self._crls), dict(self._slots)
        other._add(crl, signer)
        return other

    def __iter__(self) -> Iterator[Crl]:
        return iter(self._crls.values())

    def __len__(self) -> int:
        return len(self._crls)


def current(crls: Iterable[Crl]) -> list[Crl]:
    """Those of `crls`, all of one issuer, key and scope, that no other supersedes."""
    crls = list(crls)
    if len(crls) < 2:
        return crls
    return [one for one in crls if not any(other.supersedes(one) for other in crls)]


def may_sign_crls(certificate: Certificate) -> bool:
    """Whether key usage lets the certificate's key sign CRLs (RFC 5280 section 6.3.3 (f))."""
    usage = certificate.extensions.key_usage
    return usage is None or "cRLSign" in usage


def signer_of(crl: Crl, candidates: Iterable[Certificate]) -> Certificate:
    """The certificate among `candidates` whose key signed `crl`: its subject is the CRL's issuer, and it may sign CRLs.

    Proves nothing about the signer itself. Raises `Refused` (revocation_unknown) when it is none of them.
    """
    for one in candidates:
        try:
            if one.subject == crl.issuer and may_sign_crls(one):
                verify_signature(one.public_key, crl.signed)
                return one
        except Refused:
            continue
    raise Refused(Reason.REVOCATION_UNKNOWN, f"no known CA signed the CRL of {crl.issuer.text}")
