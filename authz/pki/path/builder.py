"""How a path is found (RFC 4158) and validated (RFC 5280 section 6.1).

1. `verify_path` asks the cache for the issuer chain above the leaf: where one is known, only the leaf and the dates are
   looked at (`fast_path`). Everything below is for the other leaves.
2. The path grows from the leaf towards an anchor, depth first (RFC 4158 section 2.4). Candidates for the next issuer
   are the anchors, the known intermediates and the presented certificates with the name that the last certificate
   states as its issuer, so that 6.1.3 (a) (4) holds. Anchors come first, then matching key identifiers (3.5.12).
3. A candidate whose name and key are on the path already is left out (RFC 4158 section 5.2). Each candidate is a step
   of the `Budget`, each signature costs too, and the depth is bounded.
4. Rules about one certificate are applied at once (`validator`), so that a branch is left as early as possible:
   6.1.3 (a) (2) dates, 6.1.4 (k) CA, (l) and (m) path length, (n) keyCertSign, (o) and 6.1.5 (f) critical extensions;
   then, being expensive, 6.1.3 (a) (1) the signature below it.
5. At an anchor come the rules about the whole path, from the anchor down: 6.1.3 (b), (c) and 6.1.4 (g) name
   constraints; 6.1.3 (d) to (f), 6.1.4 (a), (b), (h) to (j), 6.1.5 (a), (b) and (g) policies. Then 6.1.3 (a) (3)
   revocation, which may build the path of another CRL signer by these same steps (`revocation.checker`).
6. The first path that satisfies everything is the `VerifiedPath`. A candidate that fails is noted and the next is tried
   (backtracking); when none is left, the most specific refusal is raised (`failure_ranking`). Two refusals end the
   search: a used up budget, and the leaf's own revocation.
7. What a completed path proved is remembered: its certificates, its signatures, and, unless the search backtracked, its
   issuer chain, for the search would find that first every time.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING
from weakref import ref

from authz.errors import Refused
from authz.pki.budget import Budget
from authz.pki.cache.assurances import Assurance, put_assurance
from authz.pki.cache.issuer_chains import CertificateSource, IssuerChain, issuer_chain_key
from authz.pki.context import Validation
from authz.pki.failure_ranking import outranks
from authz.pki.path.candidates import CandidateIssuers
from authz.pki.path.fast_path import proofs_below
from authz.pki.path.validator import (
    check_anchor,
    check_certificate,
    check_first,
    check_issuer,
    check_path,
    check_signed,
    signature_refusal,
)
from authz.pki.revocation.checker import RevocationChecker
from authz.pki.validation_policy import CRL_SIGNER_POLICY, DEFAULT_POLICY
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from authz.pki.cache.issuer_chains import IssuerChainKey
    from authz.pki.cache.verified import SignatureKey
    from authz.pki.path.trust_store import Candidate, TrustStore
    from authz.pki.revocation.checker import NotRevoked
    from authz.pki.revocation.crl_store import CrlStore
    from authz.pki.revocation.mode import Exemption, ModeOf
    from authz.pki.validation_policy import ValidationPolicy
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.trust_anchor import TrustAnchor


_SEAL = object()


class VerifiedPath:
    """The proof that a path verified at one moment; made by `verify_path` and by nothing else.

    `certificates` run from the leaf to the anchor's own; `revocation` holds one proof for each
    certificate below the anchor, or nothing where revocation was not asked for.
    """

    __slots__ = ("_chain", "_trust", "anchor", "certificates", "exemption", "revocation")

    def __init__(
        self,
        seal: object,
        certificates: tuple[Certificate, ...],
        anchor: TrustAnchor,
        trust: TrustStore,
        revocation: tuple[NotRevoked, ...],
        chain: IssuerChain | None = None,
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("a VerifiedPath is made by verify_path alone")
        self.certificates = certificates
        self.anchor = anchor
        self.revocation = revocation
        self.exemption: Exemption | None = None
        """What the operator had to let pass about the first certificate that needed it; None without any."""
        for proof in revocation:
            if proof.exemption is not None:
                self.exemption = proof.exemption
                break
        self._trust = trust
        self._chain = chain

    @property
    def leaf(self) -> Certificate:
        """The certificate the path is about."""
        return self.certificates[0]

    @property
    def origins(self) -> tuple[CertificateSource, ...]:
        """Where each of the certificates was found."""
        known = map(self._trust.knows, [certificate.der for certificate in self.certificates[1:-1]])
        middle = [CertificateSource.KNOWN if ours else CertificateSource.PRESENTED for ours in known]
        return (CertificateSource.PRESENTED, *middle, CertificateSource.ANCHOR)

    @property
    def between(self) -> tuple[CertificateSource, ...]:
        """Where the certificates between leaf and anchor were found: each source once, the first one's first."""
        return tuple(dict.fromkeys(self.origins[1:-1])) if self._chain is None else self._chain.between


class _PathBuilder:
    """Builds one path; `anchor` is the only one allowed, if given.

    `backtracked` is whether a candidate was rejected so far, `chain_key` where to cache the issuer chain found, empty
    for nowhere, `signatures` what was verified in this search.
    """

    __slots__ = (
        "anchor", "backtracked", "candidates", "chain_key", "checker", "failure", "signatures", "trust", "validation",
    )  # fmt: skip

    def __init__(
        self,
        candidates: CandidateIssuers,
        trust: TrustStore,
        validation: Validation,
        signatures: dict[SignatureKey, Refused | None],
        chain_key: IssuerChainKey = (),
        anchor: TrustAnchor | None = None,
    ) -> None:
        self.candidates = candidates
        self.trust = trust
        self.validation = validation
        self.signatures = signatures
        self.chain_key = chain_key
        self.anchor = anchor
        self.checker: RevocationChecker | None = None
        self.failure = candidates.unreadable
        self.backtracked = candidates.unreadable is not None

    def run(self, leaf: Certificate) -> VerifiedPath:
        """The first path that is good throughout. Raises `Refused`, the most specific one."""
        try:
            signs_crls = self.anchor is not None
            stored = signs_crls and self.trust.knows(leaf.der)
            check_first(leaf, self.validation.at, self.validation.policy, stored=stored)
        except Refused as refusal:
            raise _on_path(refusal, (leaf,)) from refusal
        verified = self._extend((leaf,), 0)
        if verified is not None:
            return verified
        raise self._reported(leaf)

    def _reported(self, leaf: Certificate) -> Refused:
        """The refusal of the whole search, which this object forgets: what raises and holds an error is a cycle."""
        failure, self.failure = self.failure or _no_issuer((leaf,)), None
        # Of a signer's path, whose refusal is not reported, nothing is explained.
        return failure if self.checker is None or self.anchor is not None else self.checker.explained(failure)

    def _extend(self, path: tuple[Certificate, ...], cas_below: int) -> VerifiedPath | None:
        """Try every issuer of the last certificate of `path`; None when none of them leads to a good path."""
        candidates = self._sorted_candidates(path[-1])
        for issuer, anchor in candidates:
            self.validation.budget.spend_step()
            try:
                if _loops(issuer, path):
                    self.backtracked = True
                    continue
                verified = self._try_issuer(path, issuer, anchor, cas_below)
            except Refused as refusal:
                # Some of the frames that it came through hold it: a cycle.
                refusal.__traceback__ = None
                self._record_failure(refusal, (*path, issuer))
                continue
            if verified is not None:
                return verified
        if not candidates:
            self._record_failure(_no_issuer(path), path)
        return None

    def _try_issuer(
        self, path: tuple[Certificate, ...], issuer: Certificate, anchor: TrustAnchor | None, cas_below: int
    ) -> VerifiedPath | None:
        """Add one issuer: the cheap rules, the signature, then the end of the path or its next certificate."""
        at, policy, budget = self.validation[:3]
        if anchor is not None:
            check_anchor(anchor, cas_below, policy, at)
            return self._complete(path, anchor) if self._is_signed_by(issuer, path) else None
        if len(path) >= budget.depth:
            detail = f"more than {budget.depth} certificates in a row"
            raise Refused(Reason.PATH_LENGTH_EXCEEDED, detail, certificate=issuer.der)
        # A copy that the client brought, byte for byte, is the stored one.
        stored = self.trust.knows(issuer.der)
        check_certificate(issuer, at, policy, stored=stored)
        check_issuer(issuer, cas_below, policy)
        check_signed(issuer, policy, stored=stored)
        if not self._is_signed_by(issuer, path):
            return None
        return self._extend((*path, issuer), cas_below + (not issuer.self_issued))

    def _is_signed_by(self, issuer: Certificate, path: tuple[Certificate, ...]) -> bool:
        """6.1.3 (a) (1) of the last certificate; that it is not is noted. What is known is not computed again."""
        certificate = path[-1]
        key = (certificate.sha256, issuer.spki_sha256)
        if self.trust.verified.verified(key):
            return True
        if key not in self.signatures:
            self.validation.budget.spend_signature(issuer.key_cost)
            self.signatures[key] = signature_refusal(certificate, issuer)
        refusal = self.signatures[key]
        if refusal is not None:
            self._record_failure(refusal, (*path, issuer))
        return refusal is None

    def _complete(self, path: tuple[Certificate, ...], anchor: TrustAnchor) -> VerifiedPath:
        """An anchor is reached: the rules about the whole path, then revocation, then the proof."""
        check_path(path[::-1], anchor, self.validation.policy, self.validation.budget)
        certificates = (*path, anchor.certificate)
        proofs = () if self.checker is None else self.checker.check(certificates, anchor)
        self._admit(certificates)
        verified = VerifiedPath(_SEAL, certificates, anchor, self.trust, proofs)
        if self.chain_key and not self.backtracked:
            self._cache_chain(verified)
        return verified

    def _admit(self, certificates: tuple[Certificate, ...]) -> None:
        """Remember certificates and signatures of the completed path, and nothing of branches that failed."""
        cache = self.trust.verified
        new = [certificate for certificate in certificates[:-1] if not cache.holds(certificate)]
        if new or self.signatures:
            keys = [(certificate.sha256, issuer.spki_sha256) for certificate, issuer in pairwise(certificates)]
            cache.admit(new, [key for key in keys if key in self.signatures])

    def _cache_chain(self, path: VerifiedPath) -> None:
        """Remember the issuer chain: the search did not backtrack, so it will always try this chain first."""
        cache, policy = self.trust.verified, self.validation.policy
        chain = cache.issuer_chains.get(self.chain_key)
        if chain is None or chain.policy is not policy:
            counted = self.candidates.taken, self.candidates.octets, self.candidates.weight
            chain = IssuerChain(path.certificates[1:], path.anchor, policy, *counted, path.between)
            if not cache.admit_issuer_chain(self.chain_key, chain):
                return
        checker = self.checker
        # A signer beside the path may be authorized today and not tomorrow: that takes a search.
        if checker is None or not chain.unconstrained or checker.beside:
            return
        leafs, *cas = checker.plans
        about_cas = [applicable for plan in cas for applicable in plan.applicable]
        assurance = Assurance.of(chain, path.revocation[1:], about_cas, leafs.applicable, self.validation.at)
        points = path.leaf.crl_points
        if assurance is not None and points.small:
            kind = (chain.mark, points, path.leaf.extensions.ca)
            put_assurance(checker.crls, cache.owner, kind, assurance)

    def _sorted_candidates(self, certificate: Certificate) -> Sequence[Candidate]:
        """Everything whose subject is the issuer's name, the most promising first."""
        candidates = self.candidates.named(certificate.issuer)
        if self.anchor is not None:
            candidates = [pair for pair in candidates if pair[1] is None or pair[1] is self.anchor]
        if len(candidates) > 1:
            wanted = certificate.extensions.authority_key_id
            candidates = sorted(candidates, key=lambda pair: (pair[1] is None, _unlike(pair[0], wanted)))
        return candidates

    def _record_failure(self, refusal: Refused, path: tuple[Certificate, ...]) -> None:
        """Keep the most specific refusal; one that ends the search is raised."""
        self.backtracked = True
        if _is_final(refusal, path[0]):
            raise _on_path(refusal, path) from refusal
        if self.failure is None or outranks(refusal, len(refusal.path or path), self.failure):
            self.failure = _on_path(refusal, path)


def _on_path(refusal: Refused, path: Sequence[Certificate]) -> Refused:
    """The same refusal with the path it was met on, if it has none yet."""
    ders = refusal.path or tuple(certificate.der for certificate in path)
    return Refused(refusal.reason, refusal.detail, certificate=refusal.certificate, path=ders)


def _is_final(refusal: Refused, leaf: Certificate) -> bool:
    """Whether no other path can help: the budget is used up, or the leaf itself is revoked."""
    if refusal.reason is Reason.BUDGET_EXCEEDED:
        return True
    return refusal.reason is Reason.CERTIFICATE_REVOKED and refusal.certificate == leaf.der


def _loops(issuer: Certificate, path: tuple[Certificate, ...]) -> bool:
    """Whether the path already holds this name with this key: a circle, or a copy that can prove nothing more."""
    name = issuer.subject
    for certificate in path:  # noqa: SIM110 - a generator costs more than what it would look at
        if certificate.subject == name and certificate.spki_sha256 == issuer.spki_sha256:
            return True
    return False


def _unlike(issuer: Certificate, wanted: bytes | None) -> int:
    """0 when the key identifiers match, 1 when one is missing, 2 when they differ, which orders and refuses nothing."""
    try:
        identifier = issuer.subject_key_id
    except Refused:
        return 3
    if identifier is None or wanted is None:
        return 1
    return 0 if identifier == wanted else 2


def _no_issuer(path: tuple[Certificate, ...]) -> Refused:
    last = path[-1]
    ders = tuple(certificate.der for certificate in path)
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

    `pool` holds untrusted certificates in any order. `crls` None leaves revocation out: say so only
    where something else speaks for it. `at` is aware; fractions of a second are cut off, for the times
    it is compared with have none. `budget` bounds the work; the library's default if None. `mode_of` says
    what is let pass where revocation is unknown; nothing if None.

    Raises `Refused` with the most specific reason, the certificate it is about, and the path it was met on:
    where that is revocation_unknown, a whole one that satisfies section 6.1, the anchor last.
    """
    if at.microsecond:
        at = at.replace(microsecond=0)
    budget = Budget() if budget is None else budget
    # Without the constructor's call, which would be a tenth of what a known leaf costs.
    validation = tuple.__new__(Validation, (at, policy, budget, crls, mode_of))
    presented = tuple(pool)
    # A leaf that is too large is not read; the search says so.
    key = () if len(leaf.der) > budget.octets else issuer_chain_key(leaf, presented, trust.mark)
    signatures: dict[SignatureKey, Refused | None] = {}
    remembered = trust.verified.issuer_chains.entries.get(key)
    if remembered is not None:
        remembered.used = True
        chain = remembered.value
        proofs = proofs_below(chain, leaf, trust.verified, validation, signatures)
        if proofs is not None:
            return VerifiedPath(_SEAL, (leaf, *chain.certificates), chain.anchor, trust, proofs, chain)
    candidates = CandidateIssuers(presented, leaf, trust, budget)
    builder = _PathBuilder(candidates, trust, validation, signatures, key)
    if crls is not None:
        builder.checker = revocation_checker(candidates, trust, validation, crls)
    return builder.run(leaf)


def revocation_checker(
    candidates: CandidateIssuers, trust: TrustStore, validation: Validation, crls: CrlStore
) -> RevocationChecker:
    """The revocation half, able to ask for the path of a CRL's signer (RFC 5280 section 6.3.3 (f))."""

    def prove(signer: Certificate, anchor: TrustAnchor) -> Sequence[Certificate]:
        policy = replace(CRL_SIGNER_POLICY, algorithms=validation.policy.algorithms)
        builder = _PathBuilder(candidates, trust, validation._replace(policy=policy), {}, anchor=anchor)
        builder.checker = asking()
        return builder.run(signer).certificates

    checker = RevocationChecker(validation, crls, trust.verified, candidates.certificates, prove)
    # It holds `prove`: to hold it there would be a cycle.
    asking = ref(checker)
    return checker
