"""What lies above a leaf, remembered: the CAs from its issuer to an anchor, once a path through them was good.

Never a verdict. Remembered is what cannot change while anchors, intermediates and CRLs are the same: that these
CAs satisfy every rule of RFC 5280 section 6.1 but the dates, that the search tries them first for every leaf
that names this issuer, and that these CRLs list none of them. The dates, those of the CRLs too, and everything
about the leaf are looked at by each check.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.pki.names import Name
from authz.pki.path_validator import check_dates, check_first, signature_refusal
from authz.pki.revocation import NotRevoked, heard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from authz.pki.algorithms import AlgorithmRules
    from authz.pki.budget import Budget
    from authz.pki.certificate import Certificate
    from authz.pki.crl_plan import Voice
    from authz.pki.crl_store import CrlStore
    from authz.pki.leniency import Lenient
    from authz.pki.memo import Memo, SignatureKey
    from authz.pki.trust_store import TrustAnchor
    from authz.pki.validation_policy import ValidationPolicy

MAX_ISSUER_PATHS: Final = 256
"""Paths remembered with one set of anchors: issuers times the bags that clients send with them, which are few."""

MAX_BAG_OCTETS: Final = 16_384
"""Octets of a key, of which the bag's certificates are a part: 4 MB in all."""

Above = tuple[bytes | None, ...]
"""What a search above a leaf depends on: the issuer's name, its key identifier, the bag in its order (DER)."""


class Origin(StrEnum):
    """Where a certificate of a verified path was found."""

    PRESENTED = "presented"
    KNOWN = "known intermediate"
    ANCHOR = "trust anchor"


class IssuerPath:
    """The certificates above a leaf, its issuer first, the anchor's own last.

    `begins` and `ends` bound the validity of them all. `unconstrained` is whether they leave names and
    policies of the leaf alone. `taken`, `octets` and `weight` are what of the bag counts against a budget. `between`
    is that of a whole path, once somebody asked for it.
    """

    __slots__ = (
        "anchor", "begins", "between", "certificates", "ends", "names", "octets", "policy", "taken",
        "unconstrained", "weight",
    )  # fmt: skip

    def __init__(
        self,
        certificates: tuple[Certificate, ...],
        anchor: TrustAnchor,
        policy: ValidationPolicy,
        taken: int,
        octets: int,
        weight: int = 0,
    ) -> None:
        self.certificates = certificates
        self.anchor = anchor
        self.policy = policy
        self.taken = taken
        self.octets = octets
        self.weight = weight
        self.between: tuple[Origin, ...] | None = None
        self.names = frozenset(one.subject for one in certificates)
        self.begins = max(one.not_before for one in certificates)
        self.ends = min(one.not_after for one in certificates)
        found = [one.extensions for one in certificates]
        self.unconstrained = not (
            anchor.permitted
            or anchor.excluded
            or policy.require_explicit_policy
            or any(one.constrains_names or one.shapes_policies for one in found)
        )


def above(leaf: Certificate, bag: Sequence[Certificate]) -> Above:
    """The key of the path above `leaf`, which does not belong to its own bag.

    Raises `Refused` when the leaf cannot be read.
    """
    der = leaf.der
    return (leaf.issuer, leaf.extensions.authority_key_id, *[one.der for one in bag if one.der != der])


class IssuerPaths:
    """The paths known to one set of anchors and intermediates; the one learned first goes first."""

    __slots__ = ("_paths",)

    def __init__(self) -> None:
        self._paths: dict[Above, IssuerPath] = {}

    def get(self, key: Above) -> IssuerPath | None:
        """The path above such a leaf, if one is known."""
        return self._paths.get(key)

    def learn(self, key: Above, path: IssuerPath) -> bool:
        """Remember a path that a leaf was good by, before which the search had nothing to try; False if too large."""
        if sum(one.size if isinstance(one, Name) else len(one) for one in key if one is not None) > MAX_BAG_OCTETS:
            return False
        self._paths[key] = path
        if len(self._paths) > MAX_ISSUER_PATHS:
            del self._paths[next(iter(self._paths))]
        return True

    def __len__(self) -> int:
        return len(self._paths)


class Assurance:
    """What the CRLs of one store say about the CAs of an `IssuerPath`, and which of them speak for leaves below.

    The proofs hold from `since` until `until`: every CRL that speaks has begun by then, and none is overdue.
    """

    __slots__ = ("_proofs", "_since", "_until", "_voices")

    def __init__(self, proofs: tuple[NotRevoked, ...], since: datetime, until: datetime) -> None:
        self._proofs = proofs
        self._since = since
        self._until = until
        self._voices: dict[object, tuple[Voice, ...]] = {}

    @classmethod
    def of(
        cls, path: IssuerPath, proofs: tuple[NotRevoked, ...], voices: Iterable[Voice], at: datetime
    ) -> Assurance | None:
        """What `voices`, all that speak for the CAs of `path`, say at `at`; None where a date forbids."""
        since, until = path.begins, path.ends
        for voice in voices:
            since = max(since, voice.begins)
            for crl in (*voice.group.complete, *voice.group.deltas):
                if crl.next_update is None:
                    return None
                until = min(until, crl.next_update)
        if not since <= at <= until or any(one.indulgence is not None for one in proofs):
            return None
        return cls(proofs, since, until)

    def holds(self, at: datetime) -> bool:
        """Whether it says anything about that moment."""
        return self._since <= at <= self._until

    def proofs_for(
        self, leaf: Certificate, at: datetime, store: CrlStore, algorithms: AlgorithmRules, lenient: Lenient | None
    ) -> tuple[NotRevoked, ...] | None:
        """The proofs for a leaf and the CAs above it; None where it is not known which CRLs speak, or whether they do.

        Raises `Refused` (certificate_revoked, revocation_unknown) about the leaf.
        """
        voices = self._voices.get((leaf.crl_points, leaf.extensions.ca))
        if voices is None or not self.holds(at):
            return None
        return (heard(leaf, voices, at, store, algorithms, lenient), *self._proofs)

    def learn(self, leaf: Certificate, voices: tuple[Voice, ...]) -> bool:
        """Remember which CRLs speak for leaves with these distribution points; whether that was not known."""
        kind = leaf.crl_points, leaf.extensions.ca
        new = kind not in self._voices
        self._voices[kind] = voices
        return new


def proofs_below(
    path: IssuerPath,
    leaf: Certificate,
    memo: Memo,
    crls: CrlStore | None,
    at: datetime,
    policy: ValidationPolicy,
    budget: Budget,
    lenient: Lenient | None,
    signatures: dict[SignatureKey, Refused | None],
) -> tuple[NotRevoked, ...] | None:
    """The proofs of revocation for `leaf` and all above it, where `path` lies above; none without `crls`.

    None as soon as anything speaks against the leaf, or may: that is left to the search, which tells why. What
    is given is what the search would find. A signature verified here is noted in `signatures`.
    """
    issuers = path.certificates
    assurance = None if crls is None else crls.assurances.get(path)
    proofs: tuple[NotRevoked, ...] | None = ()
    if (
        path.policy is not policy
        or not path.begins <= at <= path.ends
        or len(issuers) > budget.depth
        or (crls is not None and assurance is None)
    ):
        return None
    try:
        budget.take_certificates(path.taken, len(leaf.der) + path.octets, path.weight)
        if leaf.below is path:
            check_dates(leaf, at)
        else:
            _below(leaf, path, memo, at, budget, signatures)
        if assurance is not None and crls is not None:
            proofs = assurance.proofs_for(leaf, at, crls, policy.algorithms, lenient)
    except (Refused, _Unsuited):
        return None
    if proofs is None:
        return None
    if leaf.below is not path:
        key = (leaf.sha256, issuers[0].spki)
        if key in signatures:
            memo.admit([leaf], [key])
        elif not memo.holds(leaf):
            memo.admit([leaf], [])
        leaf.below = path
    return proofs


class _Unsuited(Exception):
    """A leaf whose place below a known path is not for the short way to judge."""


def _below(
    leaf: Certificate,
    path: IssuerPath,
    memo: Memo,
    at: datetime,
    budget: Budget,
    signatures: dict[SignatureKey, Refused | None],
) -> None:
    """The rules about a leaf below a known path, but for revocation.

    Raises what the rules raise, and `_Unsuited`.
    """
    if not path.unconstrained or leaf.extensions.shapes_policies or leaf.subject in path.names:
        raise _Unsuited
    check_first(leaf, at, path.policy)
    issuer = path.certificates[0]
    key = (leaf.sha256, issuer.spki)
    if not memo.verified(key):
        budget.spend_signature(issuer.key_cost)
        signatures[key] = refusal = signature_refusal(leaf, issuer)
        if refusal is not None:
            raise refusal
