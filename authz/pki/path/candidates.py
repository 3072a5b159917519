"""The untrusted certificates of one search, by the names that issuers are looked for by."""

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


class Pool:
    """The untrusted certificates of one search, by subject: what was presented, without duplicates and what is known.

    One that cannot be read is a stranger like any other; `unreadable` is kept to be told if nothing
    better is. Raises `Refused` (too_many_certificates, budget_exceeded).
    """

    __slots__ = ("_by_subject", "_trust", "octets", "taken", "unreadable", "weight")

    def __init__(self, presented: Iterable[Certificate], leaf: Certificate, trust: TrustStore, budget: Budget) -> None:
        self._trust = trust
        self._by_subject: dict[Name, list[Candidate]] = {}
        self.unreadable: Refused | None = None
        known = trust.known
        new = {one.der: one for one in presented if one.der not in known}
        new.pop(leaf.der, None)
        self.taken, self.octets = len(new), sum(map(len, new))
        budget.take_certificates(self.taken, len(leaf.der) + self.octets)
        self.weight = 0
        for one in new.values():
            try:
                self._take(one, budget)
            except Refused as refusal:
                if refusal.reason is Reason.BUDGET_EXCEEDED:
                    raise
                self.unreadable = self.unreadable or refusal

    def _take(self, one: Certificate, budget: Budget) -> None:
        self.weight += one.weight
        budget.take_certificates(self.taken, self.octets, self.weight)
        self._by_subject.setdefault(one.subject, []).append((one, None))

    def named(self, subject: Name) -> Sequence[Candidate]:
        """Everything of that name: anchors, known intermediates, presented ones."""
        presented = self._by_subject.get(subject)
        known = self._trust.named(subject)
        return [*known, *presented] if known and presented else presented or known

    def certificates(self, subject: Name) -> list[Certificate]:
        """The same, whatever they are."""
        return [one for one, _ in self.named(subject)]
