"""What can never change, remembered: these bytes are this certificate, this signature verifies under this key.

Never a verdict: time, constraints, revocation and binding are looked at again by every check. What a
check learns is staged and admitted only when its path completed, so that strangers fill nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authz.pki.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CERTIFICATES: Final = 4_096
"""Certificates remembered per organization: at about 6 KB each once read, 25 MB."""

MAX_SIGNATURES: Final = 16_384
"""Signatures remembered per organization, about 200 octets each: four a certificate."""

SignatureKey = tuple[bytes, bytes]
"""(SHA-256 of the signed object's whole DER, SHA-256 of the issuer's SubjectPublicKeyInfo).

The first fixes signature, algorithm, parameters and the bytes signed; the second the key.
"""


class Memo:
    """The bounded memory of one organization; what was admitted first goes first.

    CRL signatures are kept apart from certificates', so that a flood of leaves cannot drive them out.
    """

    def __init__(self, *, max_certificates: int = MAX_CERTIFICATES, max_signatures: int = MAX_SIGNATURES) -> None:
        self._certificates: dict[bytes, Certificate] = {}
        self._signatures: dict[SignatureKey, None] = {}
        self._crl_signatures: dict[SignatureKey, None] = {}
        self._crl_refutations: dict[SignatureKey, None] = {}
        self._max_certificates = max_certificates
        self._max_signatures = max_signatures

    def certificate(self, der: bytes) -> Certificate:
        """The certificate that `der` is, remembered or read anew. Raises `Refused` (certificate_malformed)."""
        return self._certificates.get(der) or Certificate.parse(der)

    def verified(self, key: SignatureKey) -> bool:
        """Whether this certificate's signature verified before under this key."""
        return key in self._signatures

    def crl_verdict(self, key: SignatureKey) -> bool | None:
        """Whether this CRL's signature verified under this key, or did not; None if it was not tried before."""
        return True if key in self._crl_signatures else False if key in self._crl_refutations else None

    def admit(self, certificates: Iterable[Certificate], signatures: Iterable[SignatureKey]) -> None:
        """Remember what a completed path was made of; what is known already keeps its place and costs nothing."""
        for one in certificates:
            self._certificates.setdefault(one.der, one)
        for key in signatures:
            self._signatures[key] = None
        _trim(self._certificates, self._max_certificates)
        _trim(self._signatures, self._max_signatures)

    def admit_crl(self, key: SignatureKey, *, verified: bool) -> None:
        """Remember whether a CRL's signature verifies under a key.

        CRLs come from the operator, but a client can send certificates that might have signed them:
        what did not verify is kept apart, so that it drives nothing out.
        """
        known = self._crl_signatures if verified else self._crl_refutations
        known[key] = None
        _trim(known, self._max_signatures)

    def __len__(self) -> int:
        return len(self._certificates) + len(self._signatures) + len(self._crl_signatures)


def _trim(cache: dict[Any, Any], bound: int) -> None:
    while len(cache) > bound:
        del cache[next(iter(cache))]
