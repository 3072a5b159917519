"""The certificates that one path building may use as issuers, by subject (RFC 4158 section 2.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.pki.budget import Budget
    from authz.pki.path.trust_store import Candidate, TrustStore
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.distinguished_name import Name


class CandidateIssuers:
    """The trust store's certificates and the presented ones, these without duplicates, the leaf and what is known.

    A presented certificate that cannot be read is passed over; `unreadable` is the first such refusal, reported if no
    path says more. Raises `Refused` (too_many_certificates, budget_exceeded).
    """

    __slots__ = ("_by_subject", "_trust", "octets", "taken", "unreadable", "weight")

    def __init__(self, presented: Iterable[Certificate], leaf: Certificate, trust: TrustStore, budget: Budget) -> None:
        self._trust = trust
        self._by_subject: dict[Name, list[Candidate]] = {}
        self.unreadable: Refused | None = None
        known = trust.known
        new = {certificate.der: certificate for certificate in presented if certificate.der not in known}
        new.pop(leaf.der, None)
        self.taken, self.octets = len(new), sum(map(len, new))
        budget.take_certificates(self.taken, len(leaf.der) + self.octets)
        self.weight = 0
        for certificate in new.values():
            try:
                self._take(certificate, budget)
            except Refused as refusal:
                if refusal.reason is Reason.BUDGET_EXCEEDED:
                    raise
                self.unreadable = self.unreadable or refusal

    def _take(self, certificate: Certificate, budget: Budget) -> None:
        self.weight += certificate.weight
        budget.take_certificates(self.taken, self.octets, self.weight)
        self._by_subject.setdefault(certificate.subject, []).append((certificate, None))

    def named(self, subject: Name) -> Sequence[Candidate]:
        """The candidates of that name: anchors, then known intermediates, then presented certificates."""
        presented = self._by_subject.get(subject)
        known = self._trust.named(subject)
        return [*known, *presented] if known and presented else presented or known

    def certificates(self, subject: Name) -> list[Certificate]:
        """The certificates of that name, anchors or not, in the same order."""
        return [certificate for certificate, _ in self.named(subject)]
