"""Facts that can never change: these bytes are this certificate, this signature verifies under this key.

Never a verdict: time, constraints, revocation and binding are looked at again by every check. A fact is admitted only
when the path of the check completed, so that a stranger's certificates fill nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.pki.cache.extensions import KnownIssuer, tags
from authz.pki.cache.shared import Cache, Tenant, alone
from authz.pki.cache.weights import (
    CERTIFICATE_BYTES,
    GENERAL_NAME_BYTES,
    MAX_CERTIFICATE,
    MAX_DER,
    TEXTS,
    extensions_weight,
    name_weight,
)
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.distinguished_name import Name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.pki.cache.issuer_chains import IssuerChain, IssuerChainKey

SIGNATURE_BYTES: Final = 320
"""A signature that was verified: two digests in a tuple."""

ISSUER_CHAIN_BYTES: Final = 2_048
"""An issuer chain besides its certificates: its sets, its key without the presented certificates."""

MAX_KEY_OCTETS: Final = 16_384
"""Bytes of an issuer chain's key, presented certificates among them; ten of the usual size have half of that."""

SignatureKey = tuple[bytes, bytes]
"""(SHA-256 of the signed object's whole DER, SHA-256 of the issuer's SubjectPublicKeyInfo).

The first fixes signature, algorithm, parameters and the bytes signed; the second the key.
"""


class VerifiedCache:
    """What one tenant's checks found out about certificates, within the bound that all tenants share.

    The heaviest of its caches evicts when room is needed: a flood of leaves evicts no signature of a CRL. CRL
    signatures that did not verify, which a client can bring about, evict none that did.
    """

    def __init__(self, tenant: Tenant | None = None) -> None:
        tenant = tenant or alone()
        self.owner = tenant.owner
        self.issuers: Cache[bytes, KnownIssuer] = Cache(tenant)
        self.issuer_chains: Cache[IssuerChainKey, IssuerChain] = Cache(tenant)
        self._certificates: Cache[bytes, Certificate] = Cache(tenant)
        self._signatures: Cache[SignatureKey, bool] = Cache(tenant)
        self._crl_signatures: Cache[SignatureKey, bool] = Cache(tenant)
        self._crl_refutations: Cache[SignatureKey, bool] = Cache(tenant)

    def certificate(self, der: bytes) -> Certificate:
        """The certificate that `der` is, remembered or read anew. Raises `Refused` (certificate_malformed)."""
        entry = self._certificates.entries.get(der)
        if entry is None:
            return Certificate.parse(der, self.issuers)
        entry.used = True
        return entry.value

    def holds(self, certificate: Certificate) -> bool:
        """Whether the certificate is remembered."""
        return self._certificates.get(certificate.der) is not None

    def verified(self, key: SignatureKey) -> bool:
        """Whether this certificate's signature verified before under this key."""
        return self._signatures.get(key) is True

    def crl_verdict(self, key: SignatureKey) -> bool | None:
        """Whether this CRL's signature verified under this key, or did not; None if it was not tried before."""
        if self._crl_signatures.get(key):
            return True
        return False if self._crl_refutations.get(key) else None

    def admit(self, certificates: Iterable[Certificate], signatures: Iterable[SignatureKey]) -> None:
        """Remember certificates and signatures of a completed path that were not remembered yet."""
        for certificate in certificates:
            weight = weight_if_small(certificate)
            if weight is not None:
                if not certificate.extensions.recalled:  # else its issuer and list are known
                    certificate.introduce_issuer(self.issuers)
                certificate.let_go()
                self._certificates.put(certificate.der, certificate, weight)
        for key in signatures:
            self._signatures.put(key, True, SIGNATURE_BYTES)

    def admit_issuer_chain(self, key: IssuerChainKey, chain: IssuerChain) -> bool:
        """Remember the chain of a completed path, found without backtracking; False if it is too large."""
        octets = sum(map(_octets, key))
        weights = list(map(weight_if_small, chain.certificates))
        if octets > MAX_KEY_OCTETS or None in weights:
            return False
        self.issuer_chains.put(key, chain, ISSUER_CHAIN_BYTES + octets + sum(weight or 0 for weight in weights))
        return True

    def admit_crl(self, key: SignatureKey, *, verified: bool) -> None:
        """Remember whether a CRL's signature verifies under a key.

        CRLs come from the operator, but a client can send certificates that might have signed them:
        what did not verify is kept apart.
        """
        known = self._crl_signatures if verified else self._crl_refutations
        known.put(key, True, SIGNATURE_BYTES)

    def __len__(self) -> int:
        return len(self._certificates) + len(self._signatures) + len(self._crl_signatures)


def _octets(part: object) -> int:
    return part.size if isinstance(part, Name) else len(part) if isinstance(part, bytes) else 0


def weight_of(certificate: Certificate) -> int:
    """What a certificate takes in bytes once all of it is read; parts that it shares with others count in full.

    Raises `Refused` when it cannot be read.
    """
    extensions, der = certificate.extensions, certificate.der
    weight = CERTIFICATE_BYTES + TEXTS * len(der) + name_weight(certificate.subject) + name_weight(certificate.issuer)
    if extensions.recalled:
        # Its own names were not read yet.
        return weight + GENERAL_NAME_BYTES * (tags(der) - extensions.like_tags) + extensions.weight
    return weight + extensions_weight(extensions)


def weight_if_small(certificate: Certificate) -> int | None:
    """What the certificate takes in bytes; None if it is too large to be remembered, or cannot be read."""
    if len(certificate.der) > MAX_DER:
        return None
    try:
        weight = weight_of(certificate)
    except Refused:
        return None
    return weight if weight <= MAX_CERTIFICATE else None
