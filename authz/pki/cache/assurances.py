"""What the CRLs of one store say about the CAs above a leaf, and which of them are applicable to such a leaf.

It cannot change while the CRLs are the same and between two dates; each check looks for its own leaf in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from authz.pki.cache.shared import Cache
from authz.pki.cache.verified import weight_of
from authz.pki.cache.weights import points_weight

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from datetime import datetime

    from authz.pki.cache.issuer_chains import IssuerChain
    from authz.pki.cache.shared import Entry
    from authz.pki.revocation.checker import NotRevoked
    from authz.pki.revocation.crl_scope import ApplicableCrls
    from authz.pki.revocation.crl_store import CrlStore
    from authz.pki.x509.distribution_points import Points

ASSURANCE_BYTES: Final = 1_024
"""What the CRLs say about one CA, and one set of them for the leaf."""

LeafKind = tuple[object, "Points", bool]
"""What it depends on which CRLs are applicable to a leaf: the mark of its `IssuerChain`, its distribution points,
whether it is a CA.
"""


class Assurance(NamedTuple):
    """Proofs for the CAs of an `IssuerChain`, and the CRLs that are applicable to one kind of leaf.

    The proofs hold from `since` until `until`: every CRL has begun by then, and none is overdue.
    """

    proofs: tuple[NotRevoked, ...]
    applicable: tuple[ApplicableCrls, ...]
    since: datetime
    until: datetime

    @classmethod
    def of(
        cls,
        chain: IssuerChain,
        proofs: tuple[NotRevoked, ...],
        about_cas: Iterable[ApplicableCrls],
        applicable: tuple[ApplicableCrls, ...],
        at: datetime,
    ) -> Assurance | None:
        """`proofs` that `about_cas`, all CRLs applicable to the CAs of `chain`, gave at `at`; None if a date forbids.

        `applicable` are those for the leaf.
        """
        since, until = chain.begins, chain.ends
        for crls in about_cas:
            since = max(since, crls.begins)
            for crl in (*crls.crl_set.complete, *crls.crl_set.deltas):
                if crl.next_update is None:
                    return None
                until = min(until, crl.next_update)
        if not since <= at <= until or any(proof.exemption is not None for proof in proofs):
            return None
        return cls(proofs, applicable, since, until)

    @property
    def weight(self) -> int:
        """What it takes in memory, in bytes, with the CAs that it may be the last to hold."""
        cas = sum(weight_of(proof.certificate) for proof in self.proofs)
        return ASSURANCE_BYTES * (1 + len(self.proofs) + len(self.applicable)) + cas


class AssuranceCache(Cache[LeafKind, Assurance]):
    """One tenant's assurances in the memory of one `CrlStore`."""

    __slots__ = ()


def find_assurance(store: CrlStore, owner: Hashable, kind: LeafKind) -> Assurance | None:
    """What is remembered about such a leaf of the tenant `owner`; nothing is made for a tenant without any."""
    try:
        entry: Entry[Assurance] = store.memory.tenants[owner].parts[AssuranceCache].entries[kind]
    except KeyError:
        return None
    entry.used = True
    return entry.value


def put_assurance(store: CrlStore, owner: Hashable, kind: LeafKind, assurance: Assurance) -> None:
    """Remember it for such leaves of the tenant `owner`."""
    store.memory.part(owner, AssuranceCache).put(kind, assurance, assurance.weight + points_weight(kind[1]))
