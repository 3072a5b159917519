"""What can never change, remembered: these bytes are this certificate, this signature verifies under this key.

Never a verdict: time, constraints, revocation and binding are looked at again by every check. What a
check learns is admitted only when its path completed, so that strangers fill nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.pki.cache import MAX_CERTIFICATE, MAX_DER, Cache, Tenant, alone, weight_of
from authz.pki.x509.certificate import Certificate, KnownIssuer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.pki.cache.issuer_chains import Above, IssuerPath

SIGNATURE_BYTES: Final = 320
"""A signature that was verified: two digests in a tuple."""

SignatureKey = tuple[bytes, bytes]
"""(SHA-256 of the signed object's whole DER, SHA-256 of the issuer's SubjectPublicKeyInfo).

The first fixes signature, algorithm, parameters and the bytes signed; the second the key.
"""


class Memo:
    """What one tenant's checks have learned about certificates, within the bound that all tenants share.

    Of its caches the heaviest gives when room is wanted: a flood of leaves drives out no CRL's signature, and
    what did not verify, which a client can bring about, nothing that did.
    """

    def __init__(self, tenant: Tenant | None = None) -> None:
        tenant = tenant or alone()
        self.owner = tenant.owner
        self.issuers: Cache[bytes, KnownIssuer] = Cache(tenant)
        self.issuer_paths: Cache[Above, IssuerPath] = Cache(tenant)
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
                if not certificate.extensions.recalled:  # else all that could be introduced is known
                    certificate.introduce_issuer(self.issuers)
                certificate.let_go()
                self._certificates.put(certificate.der, certificate, weight)
        for key in signatures:
            self._signatures.put(key, True, SIGNATURE_BYTES)

    def admit_crl(self, key: SignatureKey, *, verified: bool) -> None:
        """Remember whether a CRL's signature verifies under a key.

        CRLs come from the operator, but a client can send certificates that might have signed them:
        what did not verify is kept apart.
        """
        known = self._crl_signatures if verified else self._crl_refutations
        known.put(key, True, SIGNATURE_BYTES)

    def __len__(self) -> int:
        return len(self._certificates) + len(self._signatures) + len(self._crl_signatures)


def weight_if_small(certificate: Certificate) -> int | None:
    """What the certificate takes; None for one too large to be remembered, or that cannot be read."""
    if len(certificate.der) > MAX_DER:
        return None
    try:
        weight = weight_of(certificate)
    except Refused:
        return None
    return weight if weight <= MAX_CERTIFICATE else None
