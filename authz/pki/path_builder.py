"""Looks for a path from a leaf to an anchor, and makes the proof that one verified.

The pool is unordered and untrusted: what the client sent, and the intermediates the operator knows.
The search goes depth first from the leaf, anchors before intermediates and matching key identifiers
before others; every rule that can refuse a branch is applied as it grows, every step is paid for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from authz.errors import Refused
from authz.pki.algorithms import check_algorithm, verify_signature
from authz.pki.budget import Budget
from authz.pki.path_validator import check_anchor, check_certificate, check_issuer, check_leaf, check_path
from authz.pki.ranking import more_useful
from authz.pki.revocation import NotRevoked, RevocationChecker
from authz.pki.trust_store import TrustAnchor, TrustStore
from authz.pki.validation_policy import CRL_SIGNER_POLICY, DEFAULT_POLICY, ValidationPolicy
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from authz.pki.certificate import Certificate
    from authz.pki.crl_store import CrlStore
    from authz.pki.memo import SignatureKey
    from authz.pki.names import Name

T = TypeVar("T")


class Origin(StrEnum):
    """Where a certificate of a verified path was found."""

    PRESENTED = "presented"
    KNOWN = "known intermediate"
    ANCHOR = "trust anchor"


_SEAL = object()


class VerifiedPath:
    """The proof that a path verified at one moment; made by the search below and by nothing else.

    `certificates` run from the leaf to the anchor's own; `origins` says of each where it was found;
    `revocation` holds one proof for each certificate below the anchor, or nothing where revocation
    was not asked for.
    """

    __slots__ = ("anchor", "certificates", "origins", "revocation")

    def __init__(
        self,
        seal: object,
        certificates: tuple[Certificate, ...],
        anchor: TrustAnchor,
        origins: tuple[Origin, ...],
        revocation: tuple[NotRevoked, ...],
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("a VerifiedPath is made by verify_path alone")
        self.certificates = certificates
        self.anchor = anchor
        self.origins = origins
        self.revocation = revocation

    @property
    def leaf(self) -> Certificate:
        """The certificate the path is about."""
        return self.certificates[0]


@dataclass(slots=True)
class _Staged:
    """What a search learned that a memo may keep if its path completes."""

    certificates: dict[bytes, Certificate] = field(default_factory=dict)
    signatures: set[SignatureKey] = field(default_factory=set)


class _Search:
    """One search: everything it needs, nothing that outlives it."""

    def __init__(
        self,
        pool: dict[Name, list[Certificate]],
        trust: TrustStore,
        at: datetime,
        policy: ValidationPolicy,
        budget: Budget,
        revocation: RevocationChecker | None,
        only_anchor: TrustAnchor | None = None,
    ) -> None:
        self.pool = pool
        self.trust = trust
        self.at = at
        self.policy = policy
        self.budget = budget
        self.revocation = revocation
        self.only_anchor = only_anchor
        self.staged = _Staged()
        self.failure: Refused | None = None

    def run(self, leaf: Certificate) -> VerifiedPath:
        """The first path that is good throughout, else the most useful refusal."""
        check_certificate(leaf, self.at)
        check_leaf(leaf, self.policy)
        check_algorithm(leaf.signed)
        found = self._climb([leaf], 0)
        if found is not None:
            return found
        raise self.failure or _no_issuer(leaf, leaf)

    def _climb(self, path: list[Certificate], cas_below: int) -> VerifiedPath | None:
        """Try every issuer of the last certificate of `path`; None when none of them leads to a good path."""
        last = path[-1]
        candidates = self._candidates(last)
        for issuer, anchor in candidates:
            self.budget.spend_step()
            if _loops(issuer, path):
                continue
            try:
                found = self._step(path, issuer, anchor, cas_below)
            except Refused as refusal:
                self._note(refusal, (*path, issuer), fatal=_final(refusal, path[0]))
                continue
            if found is not None:
                return found
        if not candidates:
            self._note(_no_issuer(last, path[0]), path, fatal=False)
        return None

    def _step(
        self, path: list[Certificate], issuer: Certificate, anchor: TrustAnchor | None, cas_below: int
    ) -> VerifiedPath | None:
        """Add one issuer: the cheap rules, the signature, then the end of the path or the next step."""
        if anchor is not None:
            check_anchor(anchor, cas_below, self.policy, self.at)
            self._check_signature(path[-1], issuer)
            return self._complete(path, anchor)
        if len(path) >= self.budget.depth:
            raise Refused(Reason.BUDGET_EXCEEDED, f"more than {self.budget.depth} certificates in a row")
        check_certificate(issuer, self.at)
        check_issuer(issuer, cas_below, self.policy)
        self._check_signature(path[-1], issuer)
        return self._climb([*path, issuer], cas_below + (not issuer.self_issued))

    def _check_signature(self, certificate: Certificate, issuer: Certificate) -> None:
        """6.1.3 (a) (1). What verified before under this key is not verified again; it costs a step all the same."""
        key = (certificate.sha256, issuer.spki)
        if self.trust.memo.verified(key) or key in self.staged.signatures:
            return
        public_key = _about(issuer, lambda: issuer.public_key)
        self.budget.spend_signature(issuer.key_cost)
        _about(certificate, lambda: verify_signature(public_key, certificate.signed))
        self.staged.signatures.add(key)

    def _complete(self, path: list[Certificate], anchor: TrustAnchor) -> VerifiedPath:
        """An anchor is reached: the rules about the whole path, then revocation, then the proof."""
        below = tuple(reversed(path))
        check_path(below, anchor, self.policy, self.budget)
        certificates = (*path, anchor.certificate)
        proofs: tuple[NotRevoked, ...] = ()
        if self.revocation is not None:
            proofs = self.revocation.check(certificates, anchor)
        self.trust.memo.admit(path, self.staged.signatures)
        return VerifiedPath(_SEAL, certificates, anchor, self._origins(path), proofs)

    def _origins(self, path: list[Certificate]) -> tuple[Origin, ...]:
        known = [Origin.KNOWN if self.trust.knows(one.der) else Origin.PRESENTED for one in path[1:]]
        return (Origin.PRESENTED, *known, Origin.ANCHOR)

    def _candidates(self, certificate: Certificate) -> list[tuple[Certificate, TrustAnchor | None]]:
        """Everything whose subject is the issuer's name, the most promising first."""
        issuer = certificate.issuer
        found: list[tuple[Certificate, TrustAnchor | None]] = [
            (anchor.certificate, anchor)
            for anchor in self.trust.anchors_by_subject.get(issuer, ())
            if self.only_anchor is None or anchor is self.only_anchor
        ]
        found += [(one, None) for one in self.trust.known_by_subject.get(issuer, ())]
        found += [(one, None) for one in self.pool.get(issuer, ())]
        if len(found) > 1:
            wanted = certificate.extensions.authority_key_id
            found.sort(key=lambda pair: (pair[1] is None, _unlike(pair[0], wanted)))
        return found

    def _note(self, refusal: Refused, path: Sequence[Certificate], *, fatal: bool) -> None:
        """Keep the most useful refusal; one that ends the search is raised."""
        told = refusal
        if not refusal.path:
            ders = tuple(one.der for one in path)
            told = Refused(refusal.reason, refusal.detail, certificate=refusal.certificate, path=ders)
        if fatal:
            raise told from refusal
        self.failure = more_useful(self.failure, told)


def _final(refusal: Refused, leaf: Certificate) -> bool:
    """Whether no other path can help: the budget is used up, or the leaf itself is revoked."""
    if refusal.reason is Reason.BUDGET_EXCEEDED:
        return True
    return refusal.reason is Reason.CERTIFICATE_REVOKED and refusal.certificate == leaf.der


def _loops(issuer: Certificate, path: list[Certificate]) -> bool:
    """Whether the path already holds this name with this key: a circle, or a copy that can prove nothing more."""
    return any(one is issuer or (one.subject == issuer.subject and one.spki == issuer.spki) for one in path)


def _unlike(issuer: Certificate, wanted: bytes | None) -> int:
    """0 when the key identifiers match, 1 when one is missing, 2 when they differ, which orders and refuses nothing."""
    try:
        found = issuer.extensions.subject_key_id
    except Refused:
        return 3
    if found is None or wanted is None:
        return 1
    return 0 if found == wanted else 2


def _no_issuer(certificate: Certificate, leaf: Certificate) -> Refused:
    if certificate is leaf and leaf.self_issued:
        detail = f"{leaf.subject.text} is its own issuer"
        return Refused(Reason.CERTIFICATE_SELF_SIGNED, detail, certificate=leaf.der)
    detail = f"nothing known here has the name of its issuer: {certificate.issuer.text}"
    return Refused(Reason.ISSUER_UNKNOWN, detail, certificate=certificate.der)


def _about(certificate: Certificate, action: Callable[[], T]) -> T:
    """Run `action`; a refusal that names no certificate is about `certificate`."""
    try:
        return action()
    except Refused as refusal:
        if refusal.certificate is not None:
            raise
        raise Refused(refusal.reason, refusal.detail, certificate=certificate.der) from refusal


def verify_path(
    leaf: Certificate,
    pool: Iterable[Certificate],
    trust: TrustStore,
    crls: CrlStore | None,
    at: datetime,
    policy: ValidationPolicy = DEFAULT_POLICY,
    budget: Budget | None = None,
) -> VerifiedPath:
    """The proof that `leaf` verifies to an anchor of `trust` at `at` (RFC 5280 section 6.1), not revoked (6.3).

    `pool` is an unordered bag of untrusted certificates. `crls` None leaves revocation out: say so only
    where something else speaks for it. `budget` bounds the work; the library's default if None.

    Raises `Refused` with the most useful reason, the certificate it is about, and the path it was met on.
    """
    budget = Budget() if budget is None else budget
    by_subject: dict[Name, list[Certificate]] = {}
    for one in {one.der: one for one in pool}.values():
        if one.der != leaf.der and not trust.knows(one.der):
            by_subject.setdefault(one.subject, []).append(one)
    revocation = None
    if crls is not None:
        revocation = _checker(by_subject, trust, crls, at, budget)
    return _Search(by_subject, trust, at, policy, budget, revocation).run(leaf)


def _checker(
    pool: dict[Name, list[Certificate]], trust: TrustStore, crls: CrlStore, at: datetime, budget: Budget
) -> RevocationChecker:
    """The revocation half, able to ask for the path of a CRL's signer (RFC 5280 section 6.3.3 (f))."""

    def signers(name: Name) -> list[Certificate]:
        anchors = [one.certificate for one in trust.anchors_by_subject.get(name, ())]
        return anchors + trust.known_by_subject.get(name, []) + pool.get(name, [])

    def prove(signer: Certificate, anchor: TrustAnchor) -> Sequence[Certificate]:
        return _Search(pool, trust, at, CRL_SIGNER_POLICY, budget, checker, anchor).run(signer).certificates

    checker = RevocationChecker(crls, at, budget, trust.memo, signers, prove)
    return checker
