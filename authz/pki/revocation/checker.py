"""Whether a certificate is known not to be revoked (RFC 5280 section 6.3).

Unknown is not good: a certificate passes only when CRLs for all reasons speak for it, are current,
are signed by its issuer on this path or by somebody with a path of his own to the same anchor, and
none that speaks for it lists it.

In one thing this is stricter than section 6.3.3, which stops at the first CRLs that cover all reasons:
every CRL that speaks is asked, so that one in which a certificate is missing never hides one in which it
is listed.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.crl.crl import Crl
from authz.pki.crl.index import Listed
from authz.pki.failure_ranking import most_specific
from authz.pki.revocation.crl_scope import Opening, Plan, Voice, plan_of, voices_of
from authz.pki.revocation.crl_signers import CrlSigners, Link, Prove
from authz.pki.revocation.crl_store import CrlStore
from authz.pki.revocation.mode import HARD_FAIL, Exemption, ModeOf
from authz.pki.x509.algorithms import DEFAULT_ALGORITHMS, AlgorithmRules
from authz.pki.x509.distribution_points import ALL_REASONS
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from authz.pki.budget import Budget
    from authz.pki.cache.verified import Memo
    from authz.pki.path.trust_store import TrustAnchor
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.distinguished_name import Name

_SEAL = object()


class NotRevoked:
    """The proof that a certificate was listed nowhere, with the CRLs that were asked; made below only.

    `exemption` says what the operator had to let pass for it; None, as a rule: nothing.
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
    """Checks the certificates of paths at one moment; `signers` and `prove` are for `CrlSigners`.

    `algorithms` narrows which signature algorithms CRLs may be signed with to prove somebody good,
    `mode_of` says what is let pass where the RFC says "unknown": nothing if None.
    """

    def __init__(
        self,
        crls: CrlStore,
        at: datetime,
        budget: Budget,
        memo: Memo,
        signers: Callable[[Name], list[Certificate]],
        prove: Prove,
        algorithms: AlgorithmRules = DEFAULT_ALGORITHMS,
        mode_of: ModeOf | None = None,
    ) -> None:
        self._mode_of = mode_of
        self.crls = crls
        self._at = at
        self._budget = budget
        self._algorithms = algorithms
        self._memo = memo
        self._named = signers
        self._prove = prove
        self._proving: set[bytes] = set()
        self.beside = False
        """Whether anybody who is not on a path had something to say."""
        self.plans: list[Plan] = []
        """The plans of the path that was checked last, from the leaf on."""

    @cached_property
    def _signers(self) -> CrlSigners:
        """For what no plan is held."""
        return CrlSigners(self._budget, self._memo, self._named, self._prove, self._proving)

    def check(self, path: Sequence[Certificate], anchor: TrustAnchor) -> tuple[NotRevoked, ...]:
        """A proof for each certificate of `path` (leaf first, anchor last) but the anchor.

        Raises `Refused`: certificate_revoked at once when the leaf is, else the most useful refusal of
        all certificates, so that "revoked" is told before "unknown".
        """
        proofs, plans = [], []
        failure: Refused | None = None
        identities = [one.sha256 for one in path]
        for height in range(1, len(path)):
            link = Link(path[height - 1], path[height:], anchor)
            try:
                plans.append(self._plan(link, identities[height:]))
                proofs.append(self._certificate(link, plans[-1]))
            except Refused as refusal:
                if refusal.reason is Reason.BUDGET_EXCEEDED or (height == 1 and _is_revoked(refusal)):
                    raise
                failure = most_specific(failure, refusal)
        if failure is not None:
            raise failure
        self.plans = plans
        return tuple(proofs)

    def _plan(self, link: Link, above: Iterable[bytes]) -> Plan:
        """The certificate's plan, made once for a store; not so while a signer is proven, who may speak for himself.

        Certificates with the same points below the same CAs share it.
        """
        certificate = link.certificate
        identity = (certificate.crl_points, certificate.extensions.ca, *above)
        plan = None if self._proving else self.crls.plans(self._memo.owner).get(identity)
        if plan is None:
            plan = plan_of(link, self.crls, self._signers, self._budget)
            if not self._proving and certificate.crl_points.small:
                self.crls.remember(self._memo.owner, identity, plan)
        return plan

    def _certificate(self, link: Link, plan: Plan) -> NotRevoked:
        voices = (*plan.voices, *self._beside(link, plan.openings)) if plan.openings else plan.voices
        return heard(link.certificate, voices, self._at, self.crls, self._algorithms, self._mode_of)

    def _beside(self, link: Link, openings: Iterable[Opening]) -> Iterator[Voice]:
        """The voices of signers who are not on the path but have one of their own."""
        for point, name, shelf, keys in openings:
            for signer in self._signers.beside_path(name, keys):
                mine = self._signers.signed(signer, shelf.find(point.names, signer.spki_sha256))
                voices = list(voices_of(mine, link.certificate, point))
                self.beside = self.beside or bool(voices)
                if voices and self._signers.may_speak(signer, name, link, self):
                    yield from voices


def heard(
    certificate: Certificate,
    voices: Iterable[Voice],
    at: datetime,
    store: CrlStore,
    algorithms: AlgorithmRules = DEFAULT_ALGORITHMS,
    mode_of: ModeOf | None = None,
) -> NotRevoked:
    """6.3.3 for one certificate: `voices`, every CRL of `store` that speaks for it in its place on a path, are asked.

    Raises `Refused` (certificate_revoked, revocation_unknown).
    """
    mode = HARD_FAIL if mode_of is None else mode_of(certificate)
    due = at - mode.grace if mode.grace else at
    covered, unusable = 0, False
    used: tuple[Crl, ...] = ()
    why = ""
    last_known: Refused | None = None
    for voice in voices:
        crls, listed, stale, problem = voice.at(at).ask(certificate, due)
        if listed is not None:
            last_known = _revoked(certificate, *listed)
            if not stale:
                raise last_known
        narrowed = "" if algorithms is DEFAULT_ALGORITHMS else _narrowed(crls, algorithms)
        if problem or narrowed:
            why = why or problem or narrowed
            unusable = unusable or bool(narrowed) or any(one.unusable for one in crls)
        else:
            used += crls
            covered |= voice.reasons  # 6.3.3 (d) and (l)
    if covered == ALL_REASONS:
        exemption = Exemption.GRACE if due < at and _any_late(used, at) else None
        return NotRevoked(_SEAL, certificate, used if len(used) == 1 else tuple(dict.fromkeys(used)), exemption)
    if mode.soft and last_known is None and not unusable:
        return NotRevoked(_SEAL, certificate, used, Exemption.SOFT_FAIL)
    raise last_known or _unknown(certificate, why, store)


def _narrowed(crls: Iterable[Crl], algorithms: AlgorithmRules) -> str:
    """Why a policy that accepts fewer algorithms than the tables hold accepts none of this; empty if it does."""
    for crl in crls:
        if crl.signed.oid not in algorithms.signatures:
            return f"the CRL of {crl.issuer.text} is signed with {crl.signed.oid}"
    return ""


def _unknown(certificate: Certificate, why: str, store: CrlStore) -> Refused:
    held = sum(one.issuer == certificate.issuer for one in store)
    why = why or f"no CRL of {certificate.issuer.text} speaks for it ({held} of that name held)"
    return Refused(Reason.REVOCATION_UNKNOWN, why, certificate=certificate.der)


def _any_late(crls: Iterable[Crl], at: datetime) -> bool:
    return any(one.next_update is not None and one.next_update < at for one in crls)


def _is_revoked(refusal: Refused) -> bool:
    return refusal.reason is Reason.CERTIFICATE_REVOKED


def _revoked(certificate: Certificate, crl: Crl, entry: Listed) -> Refused:
    reason = "" if entry.reason is None else f", reason code {entry.reason}"
    detail = f"listed in the CRL of {crl.issuer.text} of {crl.this_update:%Y-%m-%d %H:%M:%SZ}{reason}"
    return Refused(Reason.CERTIFICATE_REVOKED, detail, certificate=certificate.der)
