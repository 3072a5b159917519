"""Trust anchors, and known intermediates, which must verify like any other certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.pki.cache.verified import VerifiedCache
from authz.pki.validation_policy import SERVICE_POLICY
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.trust_anchor import TrustAnchor
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.pki.validation_policy import ValidationPolicy
    from authz.pki.x509.distinguished_name import Name


MAX_NARROWED: Final = 8
"""Stores of one anchor that are kept at once; they have the certificates in common."""

Candidate = tuple[Certificate, TrustAnchor | None]
"""A certificate that may issue another one, and the anchor that it is, if it is one."""


class TrustStore:
    """Anchors and intermediates by subject. Raises `Refused` (trust_anchors_missing) when there is no anchor.

    `known` holds both by their DER. `policy` is what the organization that has them demands of a path. `mark` stands
    for all this in the keys of caches, so that nothing is remembered across a change of it; `verified` is
    its tenant's cache (`authz.pki.cache`), of its own where none is given.
    """

    def __init__(
        self,
        anchors: Iterable[TrustAnchor | Certificate],
        intermediates: Iterable[Certificate] = (),
        verified: VerifiedCache | None = None,
        policy: ValidationPolicy = SERVICE_POLICY,
    ) -> None:
        self.anchors = tuple(anchor if isinstance(anchor, TrustAnchor) else TrustAnchor(anchor) for anchor in anchors)
        if not self.anchors:
            raise Refused(Reason.TRUST_ANCHORS_MISSING)
        self.verified = VerifiedCache() if verified is None else verified
        self.known: dict[bytes, Certificate] = {}
        self.policy = policy
        self.mark = object()
        self._by_subject: dict[Name, list[Candidate]] = {}
        self._intermediates = tuple(intermediates)
        self._only: dict[bytes, TrustStore] = {}
        for anchor in self.anchors:
            self._add(anchor.certificate, anchor)
        for certificate in self._intermediates:
            if certificate.der not in self.known:
                self._add(certificate, None)

    def _add(self, certificate: Certificate, anchor: TrustAnchor | None) -> None:
        self.known[certificate.der] = certificate
        self._by_subject.setdefault(certificate.subject, []).append((certificate, anchor))

    def named(self, subject: Name) -> Sequence[Candidate]:
        """The certificates of that name, anchors first."""
        return self._by_subject.get(subject, ())

    def only(self, anchor_sha256: bytes) -> TrustStore:
        """The same with one of its anchors alone, of that SHA-256. Raises `Refused` (trust_anchors_missing).

        Cross-signed certificates lead to several anchors, and a search takes the one that it finds first.
        """
        store = self._only.get(anchor_sha256)
        if store is None:
            if len(self._only) == MAX_NARROWED:
                self._only.clear()
            anchors = [anchor for anchor in self.anchors if anchor.certificate.sha256 == anchor_sha256]
            store = self._only[anchor_sha256] = TrustStore(anchors, self._intermediates, self.verified, self.policy)
        return store

    def parse(self, der: bytes) -> Certificate:
        """The certificate of that DER: the store's own object, or the cached one, or one read anew.

        Raises `Refused` (certificate_malformed).
        """
        return self.known.get(der) or self.verified.certificate(der)

    def knows(self, der: bytes) -> bool:
        """Whether the certificate is an anchor or known intermediate."""
        return der in self.known
