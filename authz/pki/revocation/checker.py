"""How revocation is decided (RFC 5280 section 6.3): for each certificate of a path but the anchor, from the leaf on.

1. The CRL store takes the place of the local CRL cache of 6.3.3 (a): nothing is fetched here. A CRL is looked up by
   the names of a distribution point and by its issuer, for each point of the certificate and, last, for the point
   that is implied: the certificate's issuer, all reasons (`Certificate.crl_points`).
2. (b) (1) and (b) (2): issuer, indirectCRL and the scope of the issuing distribution point must fit the certificate
   (`crl_scope`).
3. (f) to (h): the CRL verifies under a key on the path that may sign CRLs; or under another key, whose certificate
   has a path of its own to the same anchor, by the same rules, at the same moment (`crl_signers`). Steps 1 to 3 do not
   depend on the time: their result is the `RevocationPlan`, remembered for each store of CRLs.
4. CRLs that begin after `at` are left out. (c): of complete CRLs the newest of a scope counts, with the deltas that
   may be combined with it; a delta needs the same issuer, key and scope (`crl_with_deltas`).
5. (i) to (k): the entry of the certificate's serial number and issuer is looked for, in the deltas first. An entry in
   any CRL means revoked; removeFromCRL in a delta takes it back.
6. (d) and (l): a CRL that is in time, and can be used, adds the reasons that it and the distribution point have
   in common. Once all reasons are covered and no CRL lists the certificate, `NotRevoked` is the proof.
7. Otherwise the status is undetermined, and the certificate is refused as `revocation_unknown`; or as revoked, where an
   overdue CRL lists it. The operator's `RevocationMode` may let it pass: overdue CRLs for a time (grace), or the
   absence of any (soft-fail), but never an entry.

Stricter than 6.3.3, which stops at the first CRLs that cover all reasons and by (e) passes over one that adds none:
every applicable CRL is asked, so that one without the certificate never hides one that lists it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.cache.plans import plans_of, put_plan
from authz.pki.failure_ranking import most_specific
from authz.pki.revocation.crl_scope import applicable_crls, plan_of
from authz.pki.revocation.crl_signers import CrlSigners, PathPosition
from authz.pki.revocation.failed_rules import failed_rules
from authz.pki.revocation.mode import HARD_FAIL, Exemption
from authz.pki.x509.algorithms import DEFAULT_ALGORITHMS
from authz.pki.x509.distribution_points import ALL_REASONS
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from authz.pki.cache.verified import VerifiedCache
    from authz.pki.context import Validation
    from authz.pki.crl.crl import Crl
    from authz.pki.crl.index import RevokedEntry
    from authz.pki.revocation.crl_scope import ApplicableCrls, IndirectCandidate, RevocationPlan
    from authz.pki.revocation.crl_signers import Prove
    from authz.pki.revocation.crl_store import CrlStore
    from authz.pki.x509.algorithms import AlgorithmRules
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.distinguished_name import Name
    from authz.pki.x509.trust_anchor import TrustAnchor

_SEAL = object()


class NotRevoked:
    """The proof that no CRL lists a certificate, with the CRLs that were asked; made in this module only.

    `exemption` is what the operator had to let pass for it; None, as a rule: nothing.
    """

    __slots__ = ("certificate", "crls", "exemption")

    def __init__(
        self, seal: object, certificate: Certificate, crls: tuple[Crl, ...], exemption: Exemption | None = None
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("a NotRevoked is made by the revocation check alone")
        self.certificate = certificate
        self.crls = crls
        self.exemption = exemption


class RevocationChecker:
    """Checks the certificates of paths in one validation, against `crls`; `named` and `prove` are for `CrlSigners`."""

    def __init__(
        self,
        validation: Validation,
        crls: CrlStore,
        verified: VerifiedCache,
        named: Callable[[Name], list[Certificate]],
        prove: Prove,
    ) -> None:
        self.crls = crls
        self._validation = validation
        self._verified = verified
        self._named = named
        self._prove = prove
        self._proving: set[bytes] = set()
        self.beside = False
        """Whether a CRL by a key beside the path was in scope."""
        self._unknown: list[PathPosition] = []
        self.plans: list[RevocationPlan] = []
        """The plans of the path that was checked last, from the leaf on."""

    @cached_property
    def _signers(self) -> CrlSigners:
        """Made only for what no plan is remembered for."""
        return CrlSigners(self._validation.budget, self._verified, self._named, self._prove, self._proving)

    def check(self, path: Sequence[Certificate], anchor: TrustAnchor) -> tuple[NotRevoked, ...]:
        """A proof for each certificate of `path` (leaf first, anchor last) but the anchor.

        Raises `Refused`: certificate_revoked at once when the leaf is, else the most specific refusal of
        all certificates, so that "revoked" is reported before "unknown".
        """
        proofs, plans = [], []
        failure: Refused | None = None
        identities = [certificate.sha256 for certificate in path]
        for height in range(1, len(path)):
            position = PathPosition(path[height - 1], path[height:], anchor)
            try:
                plans.append(self._plan(position, tuple(identities[height:])))
                proofs.append(self._certificate(position, plans[-1]))
            except Refused as refusal:
                if refusal.reason is Reason.BUDGET_EXCEEDED or (height == 1 and _is_revoked(refusal)):
                    raise
                if refusal.reason is Reason.REVOCATION_UNKNOWN:
                    self._unknown.append(position)
                failure = most_specific(failure, refusal)
        if failure is not None:
            raise failure
        self.plans = plans
        return tuple(proofs)

    def listed(self, position: PathPosition) -> Iterator[tuple[Crl, RevokedEntry]]:
        """The entries that list a certificate in applicable CRLs that have begun, one of each scope.

        CRLs of different scopes may give different reasons.
        """
        plan = self._plan(position, tuple(certificate.sha256 for certificate in position.above))
        at = self._validation.at
        for same_scope in (*plan.applicable, *self._beside(position, plan.candidates)):
            crl_set = same_scope.crl_set if same_scope.begins <= at else same_scope.at(at)
            listed = crl_set.ask(position.certificate, at).listed
            if listed is not None:
                yield listed

    def explained(self, refusal: Refused) -> Refused:
        """A refusal that `check` raised, with what each CRL failed, if that is revocation_unknown; else itself."""
        for position in self._unknown:
            path = (position.certificate.der, *(certificate.der for certificate in position.above))
            if refusal.reason is Reason.REVOCATION_UNKNOWN and refusal.path[-len(path) :] == path:
                why = failed_rules(position, self.crls, self._signers, self._validation)
                return Refused(refusal.reason, why, certificate=refusal.certificate, path=refusal.path)
        return refusal

    def _plan(self, position: PathPosition, above: tuple[bytes, ...]) -> RevocationPlan:
        """Steps 1 to 3, once for a store; but anew while a signer is being proven, which may sign for itself.

        Certificates with the same points below the same CAs share a plan.
        """
        certificate, owner = position.certificate, self._verified.owner
        key = (certificate.crl_points, certificate.extensions.ca, above)
        plan = None if self._proving else plans_of(self.crls, owner).get(key)
        if plan is None:
            plan = plan_of(position, self.crls, self._signers, self._validation.budget)
            if not self._proving and certificate.crl_points.small:
                put_plan(self.crls, owner, key, plan)
        return plan

    def _certificate(self, position: PathPosition, plan: RevocationPlan) -> NotRevoked:
        applicable = plan.applicable
        if plan.candidates:
            applicable = (*applicable, *self._beside(position, plan.candidates))
        return check_status(position.certificate, applicable, self._validation)

    def _beside(self, position: PathPosition, candidates: Iterable[IndirectCandidate]) -> Iterator[ApplicableCrls]:
        """The applicable CRLs of signers that are not on the path but have one of their own (step 3)."""
        for point, name, by_issuer, keys in candidates:
            for signer in self._signers.beside_path(name, keys):
                crls = self._signers.signed(
                    signer, by_issuer.find(point.names, signer.plain_spki_sha256, signer.spki_sha256)
                )
                applicable = list(applicable_crls(crls, position.certificate, point))
                self.beside = self.beside or bool(applicable)
                if applicable and self._signers.is_authorized(signer, name, position):
                    yield from applicable


def check_status(certificate: Certificate, applicable: Iterable[ApplicableCrls], validation: Validation) -> NotRevoked:
    """Steps 4 to 7 for one certificate; `applicable` are all CRLs that are, in its position on a path.

    Raises `Refused` (certificate_revoked, revocation_unknown).
    """
    at, policy, _, _, mode_of = validation
    algorithms = policy.algorithms
    mode = HARD_FAIL if mode_of is None else mode_of(certificate)
    due = at - mode.grace if mode.grace else at
    covered, unusable = 0, False
    used: tuple[Crl, ...] = ()
    why = ""
    overdue: tuple[Crl, RevokedEntry] | None = None
    for same_scope in applicable:
        crl_set = same_scope.crl_set if same_scope.begins <= at else same_scope.at(at)
        crls, listed, stale, problem = crl_set.ask(certificate, due)
        if listed is not None:
            if not stale:
                raise _revoked(certificate, *listed)
            overdue = listed
        narrowed = "" if algorithms is DEFAULT_ALGORITHMS else _narrowed(crls, algorithms)
        if problem or narrowed:
            why = why or problem or narrowed
            unusable = unusable or bool(narrowed) or any(crl.unusable for crl in crls)
        else:
            used += crls
            covered |= same_scope.reasons
    if covered == ALL_REASONS:
        exemption = Exemption.GRACE if due < at and _any_late(used, at) else None
        return NotRevoked(_SEAL, certificate, used if len(used) == 1 else tuple(dict.fromkeys(used)), exemption)
    if mode.soft and overdue is None and not unusable:
        return NotRevoked(_SEAL, certificate, used, Exemption.SOFT_FAIL)
    why = why or f"no CRL of {certificate.issuer.text} is applicable"
    if overdue is not None:
        raise _revoked(certificate, *overdue)
    raise Refused(Reason.REVOCATION_UNKNOWN, why, certificate=certificate.der)


def _narrowed(crls: Iterable[Crl], algorithms: AlgorithmRules) -> str:
    """Why a policy with other algorithms does not accept one of the CRLs; empty if it accepts all.

    Its signer's key was accepted with a path. So the default policy need not ask: what verifies under a key that it
    accepts is signed with an algorithm that it accepts.
    """
    for crl in crls:
        if crl.signed.oid not in algorithms.signatures:
            return f"the CRL of {crl.issuer.text} is signed with {crl.signed.oid}"
    return ""


def _any_late(crls: Iterable[Crl], at: datetime) -> bool:
    return any(crl.next_update is not None and crl.next_update < at for crl in crls)


def _is_revoked(refusal: Refused) -> bool:
    return refusal.reason is Reason.CERTIFICATE_REVOKED


def _revoked(certificate: Certificate, crl: Crl, entry: RevokedEntry) -> Refused:
    reason = "" if entry.reason is None else f", reason code {entry.reason}"
    detail = f"listed in the CRL of {crl.issuer.text} of {crl.this_update:%Y-%m-%d %H:%M:%SZ}{reason}"
    return Refused(Reason.CERTIFICATE_REVOKED, detail, certificate=certificate.der)
