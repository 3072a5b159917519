"""Looks for a path from a leaf to an anchor, and makes the proof that one verified.

The pool is unordered and untrusted: what the client sent, and the intermediates the operator knows.
The search goes depth first from the leaf, anchors before intermediates and matching key identifiers
before others; every rule that can refuse a branch is applied as it grows, every step is paid for.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.budget import Budget
from authz.pki.cache.issuer_chains import Assurance, IssuerPath, Origin, above, kind_of, proofs_below, remember_path
from authz.pki.failure_ranking import most_specific
from authz.pki.path.candidates import Pool
from authz.pki.path.trust_store import TrustAnchor, TrustStore
from authz.pki.path.validator import (
    check_anchor,
    check_certificate,
    check_first,
    check_issuer,
    check_path,
    check_signed,
    signature_refusal,
)
from authz.pki.revocation.checker import NotRevoked, RevocationChecker
from authz.pki.validation_policy import CRL_SIGNER_POLICY, DEFAULT_POLICY, ValidationPolicy
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from authz.pki.cache.issuer_chains import Above
    from authz.pki.cache.verified import SignatureKey
    from authz.pki.path.trust_store import Candidate
    from authz.pki.revocation.crl_store import CrlStore
    from authz.pki.revocation.mode import Exemption, ModeOf
    from authz.pki.x509.certificate import Certificate


_SEAL = object()


class VerifiedPath:
    """The proof that a path verified at one moment; made by `verify_path` and by nothing else.

    `certificates` run from the leaf to the anchor's own; `revocation` holds one proof for each
    certificate below the anchor, or nothing where revocation was not asked for.
    """

    __slots__ = ("_known", "_trust", "anchor", "certificates", "exemption", "revocation")

    def __init__(
        self,
        seal: object,
        certificates: tuple[Certificate, ...],
        anchor: TrustAnchor,
        trust: TrustStore,
        revocation: tuple[NotRevoked, ...],
        known: IssuerPath | None = None,
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("a VerifiedPath is made by verify_path alone")
        self.certificates = certificates
        self.anchor = anchor
        self.revocation = revocation
        self.exemption: Exemption | None = None
        """What the operator had to let pass about the first certificate that needed it; None where none did."""
        for one in revocation:
            if one.exemption is not None:
                self.exemption = one.exemption
                break
        self._trust = trust
        self._known = known

    @property
    def leaf(self) -> Certificate:
        """The certificate the path is about."""
        return self.certificates[0]

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where each of the certificates was found."""
        middle = self.certificates[1:-1]
        known = [Origin.KNOWN if self._trust.knows(one.der) else Origin.PRESENTED for one in middle]
        return (Origin.PRESENTED, *known, Origin.ANCHOR)

    @property
    def between(self) -> tuple[Origin, ...]:
        """Where the certificates between leaf and anchor were found: each origin once, the first one's first."""
        if self._known is not None and self._known.between is not None:
            return self._known.between
        found = tuple(dict.fromkeys(self.origins[1:-1]))
        if self._known is not None:
            self._known.between = found
        return found


class _Search:
    """One search: everything it needs, nothing that outlives it.

    `straight` is whether it has turned back from nothing yet; `above` the key of what it may teach, None for nothing.
    """

    __slots__ = (
        "above", "anchor", "at", "budget", "failure", "policy", "pool", "revocation", "signatures", "straight", "trust",
    )  # fmt: skip

    def __init__(
        self,
        pool: Pool,
        trust: TrustStore,
        at: datetime,
        policy: ValidationPolicy,
        budget: Budget,
        anchor: TrustAnchor | None = None,
    ) -> None:
        self.pool = pool
        self.trust = trust
        self.at = at
        self.policy = policy
        self.budget = budget
        self.anchor = anchor
        self.revocation: RevocationChecker | None = None
        self.signatures: dict[SignatureKey, Refused | None] = {}
        self.failure = pool.unreadable
        self.straight = pool.unreadable is None
        self.above: Above | None = None

    def run(self, leaf: Certificate) -> VerifiedPath:
        """The first path that is good throughout, else the most useful refusal."""
        try:
            check_first(leaf, self.at, self.policy)
        except Refused as refusal:
            raise _on_path(refusal, (leaf,)) from refusal
        found = self._climb((leaf,), 0)
        if found is not None:
            return found
        raise self.failure or _no_issuer((leaf,))

    def _climb(self, path: tuple[Certificate, ...], cas_below: int) -> VerifiedPath | None:
        """Try every issuer of the last certificate of `path`; None when none of them leads to a good path."""
        last = path[-1]
        candidates = self._candidates(last)
        for issuer, anchor in candidates:
            self.budget.spend_step()
            try:
                if _loops(issuer, path):
                    self.straight = False
                    continue
                found = self._step(path, issuer, anchor, cas_below)
            except Refused as refusal:
                self._note(refusal, (*path, issuer))
                continue
            if found is not None:
                return found
        if not candidates:
            self._note(_no_issuer(path), path)
        return None

    def _step(
        self, path: tuple[Certificate, ...], issuer: Certificate, anchor: TrustAnchor | None, cas_below: int
    ) -> VerifiedPath | None:
        """Add one issuer: the cheap rules, the signature, then the end of the path or the next step."""
        if anchor is not None:
            check_anchor(anchor, cas_below, self.policy, self.at)
            self._check_signature(path[-1], issuer)
            return self._complete(path, anchor)
        if len(path) >= self.budget.depth:
            detail = f"more than {self.budget.depth} certificates in a row"
            raise Refused(Reason.PATH_LENGTH_EXCEEDED, detail, certificate=issuer.der)
        check_certificate(issuer, self.at, self.policy)
        check_issuer(issuer, cas_below, self.policy)
        check_signed(issuer, self.policy)
        self._check_signature(path[-1], issuer)
        return self._climb((*path, issuer), cas_below + (not issuer.self_issued))

    def _check_signature(self, certificate: Certificate, issuer: Certificate) -> None:
        """6.1.3 (a) (1). What is known of this signature and key is not computed again; the step was paid for."""
        key = (certificate.sha256, issuer.spki_sha256)
        if self.trust.memo.verified(key):
            return
        if key not in self.signatures:
            self.budget.spend_signature(issuer.key_cost)
            self.signatures[key] = signature_refusal(certificate, issuer)
        refusal = self.signatures[key]
        if refusal is not None:
            raise refusal

    def _complete(self, path: tuple[Certificate, ...], anchor: TrustAnchor) -> VerifiedPath:
        """An anchor is reached: the rules about the whole path, then revocation, then the proof."""
        check_path(path[::-1], anchor, self.policy, self.budget)
        certificates = (*path, anchor.certificate)
        proofs: tuple[NotRevoked, ...] = ()
        if self.revocation is not None:
            proofs = self.revocation.check(certificates, anchor)
        self._remember(certificates)
        if self.above is not None and self.straight:
            self._teach(self.above, certificates, anchor, proofs)
        return VerifiedPath(_SEAL, certificates, anchor, self.trust, proofs)

    def _remember(self, certificates: tuple[Certificate, ...]) -> None:
        """Admit what the completed path taught, and nothing that was learned on the way to nowhere."""
        memo = self.trust.memo
        new = [one for one in certificates[:-1] if not memo.holds(one)]
        if new or self.signatures:
            keys = [(below.sha256, above.spki_sha256) for below, above in pairwise(certificates)]
            memo.admit(new, [key for key in keys if key in self.signatures])

    def _teach(
        self, key: Above, certificates: tuple[Certificate, ...], anchor: TrustAnchor, proofs: tuple[NotRevoked, ...]
    ) -> None:
        """Admit what lies above the leaf: the search, which turned back from nothing, will always go this way first."""
        memo = self.trust.memo
        path = memo.issuer_paths.get(key)
        if path is None or path.policy is not self.policy:
            pool = self.pool
            path = IssuerPath(certificates[1:], anchor, self.policy, pool.taken, pool.octets, pool.weight)
            if not remember_path(memo.issuer_paths, key, path):
                return
        checker = self.revocation
        if checker is None or not path.unconstrained:
            return
        # Who is not on the path may speak today and not tomorrow: that takes a search.
        if checker.beside:
            return
        leafs, *cas = checker.plans
        about_cas = [voice for plan in cas for voice in plan.voices]
        assurance = Assurance.of(path, proofs[1:], about_cas, leafs.voices, self.at)
        if assurance is not None and certificates[0].crl_points.small:
            checker.crls.assure(memo.owner, kind_of(certificates[0], path), assurance)

    def _candidates(self, certificate: Certificate) -> Sequence[Candidate]:
        """Everything whose subject is the issuer's name, the most promising first."""
        found = self.pool.named(certificate.issuer)
        if self.anchor is not None:
            found = [pair for pair in found if pair[1] is None or pair[1] is self.anchor]
        if len(found) > 1:
            wanted = certificate.extensions.authority_key_id
            found = sorted(found, key=lambda pair: (pair[1] is None, _unlike(pair[0], wanted)))
        return found

    def _note(self, refusal: Refused, path: tuple[Certificate, ...]) -> None:
        """Keep the most useful refusal; one that ends the search is raised."""
        self.straight = False
        told = _on_path(refusal, path)
        if _is_final(refusal, path[0]):
            raise told from refusal
        self.failure = most_specific(self.failure, told)


def _on_path(refusal: Refused, path: Sequence[Certificate]) -> Refused:
    """The refusal with the path it was met on, if it does not tell one already."""
    if refusal.path:
        return refusal
    ders = tuple(one.der for one in path)
    return Refused(refusal.reason, refusal.detail, certificate=refusal.certificate, path=ders)


def _is_final(refusal: Refused, leaf: Certificate) -> bool:
    """Whether no other path can help: the budget is used up, or the leaf itself is revoked."""
    if refusal.reason is Reason.BUDGET_EXCEEDED:
        return True
    return refusal.reason is Reason.CERTIFICATE_REVOKED and refusal.certificate == leaf.der


def _loops(issuer: Certificate, path: tuple[Certificate, ...]) -> bool:
    """Whether the path already holds this name with this key: a circle, or a copy that can prove nothing more."""
    name = issuer.subject
    for one in path:  # noqa: SIM110 - a generator costs more than what it would look at
        if one.subject == name and one.spki_sha256 == issuer.spki_sha256:
            return True
    return False


def _unlike(issuer: Certificate, wanted: bytes | None) -> int:
    """0 when the key identifiers match, 1 when one is missing, 2 when they differ, which orders and refuses nothing."""
    try:
        found = issuer.subject_key_id
    except Refused:
        return 3
    if found is None or wanted is None:
        return 1
    return 0 if found == wanted else 2


def _no_issuer(path: tuple[Certificate, ...]) -> Refused:
    last = path[-1]
    ders = tuple(one.der for one in path)
    if len(path) == 1 and last.self_issued:
        detail = f"{last.subject.text} is its own issuer"
        return Refused(Reason.CERTIFICATE_SELF_SIGNED, detail, certificate=last.der, path=ders)
    detail = f"nothing known here has the name of its issuer: {last.issuer.text}"
    return Refused(Reason.ISSUER_UNKNOWN, detail, certificate=last.der, path=ders)


def verify_path(
    leaf: Certificate,
    pool: Iterable[Certificate],
    trust: TrustStore,
    crls: CrlStore | None,
    at: datetime,
    policy: ValidationPolicy = DEFAULT_POLICY,
    budget: Budget | None = None,
    mode_of: ModeOf | None = None,
) -> VerifiedPath:
    """The proof that `leaf` verifies to an anchor of `trust` at `at` (RFC 5280 section 6.1), not revoked (6.3).

    `pool` is an unordered bag of untrusted certificates. `crls` None leaves revocation out: say so only
    where something else speaks for it. `at` is aware; fractions of a second are cut off, for the times
    it is compared with have none. `budget` bounds the work; the library's default if None. `mode_of` says
    what is let pass where revocation is unknown; nothing if None.

    Raises `Refused` with the most useful reason, the certificate it is about, and the path it was met on:
    where that is revocation_unknown, a whole one that satisfies section 6.1, the anchor last.
    """
    budget = Budget() if budget is None else budget
    if at.microsecond:
        at = at.replace(microsecond=0)
    presented = tuple(pool)
    # One that is too large is not read; the search says so.
    key = None if len(leaf.der) > budget.octets else above(leaf, presented, trust.mark)
    signatures: dict[SignatureKey, Refused | None] = {}
    path = None if key is None else trust.memo.issuer_paths.get(key)
    if path is not None:
        proofs = proofs_below(path, leaf, trust.memo, crls, at, policy, budget, mode_of, signatures)
        if proofs is not None:
            return VerifiedPath(_SEAL, (leaf, *path.certificates), path.anchor, trust, proofs, path)
    bag = Pool(presented, leaf, trust, budget)
    search = _Search(bag, trust, at, policy, budget)
    search.above, search.signatures = key, signatures
    if crls is not None:
        search.revocation = _checker(bag, trust, crls, at, policy, budget, mode_of)
    return search.run(leaf)


def _checker(
    pool: Pool,
    trust: TrustStore,
    crls: CrlStore,
    at: datetime,
    policy: ValidationPolicy,
    budget: Budget,
    mode_of: ModeOf | None,
) -> RevocationChecker:
    """The revocation half, able to ask for the path of a CRL's signer (RFC 5280 section 6.3.3 (f))."""

    def prove(signer: Certificate, anchor: TrustAnchor, checker: RevocationChecker) -> Sequence[Certificate]:
        search = _Search(pool, trust, at, replace(CRL_SIGNER_POLICY, algorithms=policy.algorithms), budget, anchor)
        search.revocation = checker
        return search.run(signer).certificates

    return RevocationChecker(crls, at, budget, trust.memo, pool.certificates, prove, policy.algorithms, mode_of)
