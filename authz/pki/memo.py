"""What can never change, remembered: these bytes are this certificate, this signature verifies under this key.

Never a verdict: time, constraints, revocation and binding are looked at again by every check. What a
check learns is admitted only when its path completed, so that strangers fill nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from authz.pki.certificate import Certificate, KnownIssuer

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CERTIFICATES: Final = 4_096
"""Certificates remembered per organization: at about 2 KB each with their DER, 8 MB."""

MAX_SIGNATURES: Final = 16_384
"""Signatures remembered per organization, about 200 octets each: four a certificate."""

MAX_ISSUERS: Final = 256
"""Names of issuers remembered per organization: more than any has CAs."""

SignatureKey = tuple[bytes, bytes]
"""(SHA-256 of the signed object's whole DER, SHA-256 of the issuer's SubjectPublicKeyInfo).

The first fixes signature, algorithm, parameters and the bytes signed; the second the key.
"""

K = TypeVar("K")
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """At most `bound` entries; those not asked for during the last `bound / 2` additions go first.

    Two generations: when the younger is full, the older is dropped, but for what was used since.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, bound: int) -> None:
        self._half = max(1, bound // 2)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        found = self._young.get(key)
        if found is None and key in self._old:
            found = self._old[key]
            self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        if len(self._young) >= self._half:
            self._young, self._old = {}, self._young
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())


class Memo:
    """The bounded memory of one organization.

    CRL signatures are kept apart from certificates', so that a flood of leaves cannot drive them out.
    """

    def __init__(self, *, max_certificates: int = MAX_CERTIFICATES, max_signatures: int = MAX_SIGNATURES) -> None:
        self._issuers: dict[bytes, KnownIssuer] = {}
        self._certificates: _Recent[bytes, Certificate] = _Recent(max_certificates)
        self._signatures: _Recent[SignatureKey, bool] = _Recent(max_signatures)
        self._crl_signatures: _Recent[SignatureKey, bool] = _Recent(max_signatures)
        self._crl_refutations: _Recent[SignatureKey, bool] = _Recent(max_signatures)

    def certificate(self, der: bytes) -> Certificate:
        """The certificate that `der` is, remembered or read anew. Raises `Refused` (certificate_malformed)."""
        return self._certificates.get(der) or Certificate.parse(der, self._issuers)

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
        for one in certificates:
            if not one.extensions.recalled:  # else all that could be introduced is known
                one.introduce_issuer(self._issuers, MAX_ISSUERS)
            one.let_go()
            self._certificates.put(one.der, one)
        for key in signatures:
            self._signatures.put(key, True)

    def admit_crl(self, key: SignatureKey, *, verified: bool) -> None:
        """Remember whether a CRL's signature verifies under a key.

        CRLs come from the operator, but a client can send certificates that might have signed them:
        what did not verify is kept apart, so that it drives nothing out.
        """
        known = self._crl_signatures if verified else self._crl_refutations
        known.put(key, True)

    def __len__(self) -> int:
        return len(self._certificates) + len(self._signatures) + len(self._crl_signatures)
