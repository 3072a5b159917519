"""What lies above a leaf, remembered: the CAs from its issuer to an anchor, once a path through them was good.

Never a verdict. Remembered is what cannot change while anchors, intermediates and CRLs are the same: that these
CAs satisfy every rule of RFC 5280 section 6.1 but the dates, that the search tries them first for every leaf
that names this issuer, and that these CRLs list none of them. The dates, those of the CRLs too, and everything
about the leaf are looked at by each check.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refused
from authz.pki.cache import weight_of
from authz.pki.cache.verified import weight_if_small
from authz.pki.path.validator import check_dates, check_first, signature_refusal
from authz.pki.revocation.checker import NotRevoked, heard
from authz.pki.x509.distinguished_name import Name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from authz.pki.budget import Budget
    from authz.pki.cache import Cache
    from authz.pki.cache.verified import Memo, SignatureKey
    from authz.pki.path.trust_store import TrustAnchor
    from authz.pki.revocation.crl_scope import Voice
    from authz.pki.revocation.crl_store import CrlStore
    from authz.pki.revocation.mode import ModeOf
    from authz.pki.validation_policy import ValidationPolicy
    from authz.pki.x509.certificate import Certificate

MAX_BAG_OCTETS: Final = 16_384
"""Octets of a key, of which the bag's certificates are a part; ten of the usual size have half of that."""

PATH_BYTES: Final = 2_048
"""A path besides its certificates: its sets, its key without the bag."""

PROOF_BYTES: Final = 1_024
"""What the CRLs say about one CA, and one voice for the leaf."""

Above = tuple[object, ...]
"""What a search above a leaf depends on: the mark of anchors and intermediates, the issuer's name, its key identifier,
the bag in its order (DER).
"""

Kind = tuple[object, ...]
"""What it depends on which CRLs speak for a leaf: the mark of the path above it, its points, whether it is a CA."""


class Origin(StrEnum):
    """Where a certificate of a verified path was found."""

    PRESENTED = "presented"
    KNOWN = "known intermediate"
    ANCHOR = "trust anchor"


class IssuerPath:
    """The certificates above a leaf, its issuer first, the anchor's own last.

    `begins` and `ends` bound the validity of them all. `unconstrained` is whether they leave names and
    policies of the leaf alone. `taken`, `octets` and `weight` are what of the bag counts against a budget. `between`
    is that of a whole path, once somebody asked for it. `mark` stands for the path where it must not be kept alive.
    """

    __slots__ = (
        "anchor", "begins", "between", "certificates", "ends", "mark", "names", "octets", "policy", "taken",
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
        self.mark = object()
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


def above(leaf: Certificate, bag: Sequence[Certificate], mark: object) -> Above | None:
    """The key of the path above `leaf`, which does not belong to its own bag, under the trust store of that mark.

    None when the leaf cannot be read.
    """
    if leaf.below is None:
        leaf.read_ahead()
    der = leaf.der
    try:
        return (mark, leaf.issuer, leaf.extensions.authority_key_id, *[one.der for one in bag if one.der != der])
    except Refused:
        return None


def remember_path(paths: Cache[Above, IssuerPath], key: Above, path: IssuerPath) -> bool:
    """Remember a path that a leaf was good by, before which the search had nothing to try; False if too large."""
    bag = sum(_length(part) for part in key)
    weights = list(map(weight_if_small, path.certificates))
    if bag > MAX_BAG_OCTETS or None in weights:
        return False
    paths.put(key, path, PATH_BYTES + bag + sum(weight or 0 for weight in weights))
    return True


def _length(part: object) -> int:
    return part.size if isinstance(part, Name) else len(part) if isinstance(part, bytes) else 0


class Assurance(NamedTuple):
    """What the CRLs of one store say about the CAs of an `IssuerPath`, and which of them speak for one kind of leaf.

    The proofs hold from `since` until `until`: every CRL that speaks has begun by then, and none is overdue.
    """

    proofs: tuple[NotRevoked, ...]
    voices: tuple[Voice, ...]
    since: datetime
    until: datetime

    @classmethod
    def of(
        cls,
        path: IssuerPath,
        proofs: tuple[NotRevoked, ...],
        about_cas: Iterable[Voice],
        voices: tuple[Voice, ...],
        at: datetime,
    ) -> Assurance | None:
        """What `about_cas`, all that speak for the CAs of `path`, say at `at`; None where a date forbids.

        `voices` are those that speak for the leaf.
        """
        since, until = path.begins, path.ends
        for voice in about_cas:
            since = max(since, voice.begins)
            for crl in (*voice.group.complete, *voice.group.deltas):
                if crl.next_update is None:
                    return None
                until = min(until, crl.next_update)
        if not since <= at <= until or any(one.exemption is not None for one in proofs):
            return None
        return cls(proofs, voices, since, until)

    @property
    def weight(self) -> int:
        """What it takes in memory, in bytes, with the CAs that it may be the last to hold."""
        cas = sum(weight_of(proof.certificate) for proof in self.proofs)
        return PROOF_BYTES * (1 + len(self.proofs) + len(self.voices)) + cas


def kind_of(leaf: Certificate, path: IssuerPath) -> Kind:
    """The key of the assurance for such a leaf below the path. Raises `Refused` when it cannot be read."""
    return (path.mark, leaf.crl_points, leaf.extensions.ca)


def proofs_below(
    path: IssuerPath,
    leaf: Certificate,
    memo: Memo,
    crls: CrlStore | None,
    at: datetime,
    policy: ValidationPolicy,
    budget: Budget,
    mode_of: ModeOf | None,
    signatures: dict[SignatureKey, Refused | None],
) -> tuple[NotRevoked, ...] | None:
    """The proofs of revocation for `leaf` and all above it, where `path` lies above; none without `crls`.

    None as soon as anything speaks against the leaf, or may: that is left to the search, which tells why. What
    is given is what the search would find. A signature verified here is noted in `signatures`.
    """
    issuers = path.certificates
    proofs: tuple[NotRevoked, ...] = ()
    if path.policy is not policy or not path.begins <= at <= path.ends or len(issuers) > budget.depth:
        return None
    try:
        budget.take_certificates(path.taken, len(leaf.der) + path.octets, path.weight)
        if leaf.below is path.mark:
            check_dates(leaf, at)
        else:
            _below(leaf, path, memo, at, budget, signatures)
        if crls is not None:
            known = crls.assurance(memo.owner, (path.mark, leaf.crl_points, leaf.extensions.ca))
            if known is None or not known.since <= at <= known.until:
                return None
            proofs = (heard(leaf, known.voices, at, crls, policy.algorithms, mode_of), *known.proofs)
    except (Refused, _Unsuited):
        return None
    if leaf.below is not path.mark:
        key = (leaf.sha256, issuers[0].spki_sha256)
        if key in signatures:
            memo.admit([leaf], [key])
        elif not memo.holds(leaf):
            memo.admit([leaf], [])
        leaf.below = path.mark
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
    key = (leaf.sha256, issuer.spki_sha256)
    if not memo.verified(key):
        budget.spend_signature(issuer.key_cost)
        signatures[key] = refusal = signature_refusal(leaf, issuer)
        if refusal is not None:
            raise refusal
