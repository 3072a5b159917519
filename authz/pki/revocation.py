"""Whether a certificate is known not to be revoked (RFC 5280 section 6.3).

Unknown is not good: a certificate passes only when CRLs for all reasons speak for it, are current,
are signed by its issuer on this path or by somebody with a path of his own to the same anchor, and
list it nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from authz.errors import Refused
from authz.pki.algorithms import verify_signature
from authz.pki.crl import ALL_REASONS, Crl
from authz.pki.crl_index import REMOVE_FROM_CRL, Listed
from authz.pki.crl_store import CrlStore, could_be_signed_by, current, may_sign_crls
from authz.pki.names import Name
from authz.pki.ranking import more_useful
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from authz.pki.budget import Budget
    from authz.pki.certificate import Certificate
    from authz.pki.memo import Memo
    from authz.pki.trust_store import TrustAnchor

Reasons = frozenset[x509.ReasonFlags]

_SEAL = object()


class NotRevoked:
    """The proof that a certificate was listed nowhere, with the CRLs that were asked; made below only."""

    __slots__ = ("certificate", "crls")

    def __init__(self, seal: object, certificate: Certificate, crls: tuple[Crl, ...]) -> None:
        if seal is not _SEAL:
            raise TypeError("a NotRevoked is made by the revocation check alone")
        self.certificate = certificate
        self.crls = crls


@dataclass(frozen=True, slots=True)
class _Point:
    """A distribution point as 6.3.3 works with it: its names, the CRL issuers it delegates to, its reasons."""

    names: frozenset[object]
    crl_issuers: tuple[Name, ...]
    reasons: Reasons


class RevocationChecker:
    """Checks certificates of paths to one anchor at one moment.

    `signers` finds certificates by subject among all that is known or was presented; `prove` verifies
    that one of them has a path to the anchor, and raises `Refused` if not.
    """

    def __init__(
        self,
        crls: CrlStore,
        at: datetime,
        budget: Budget,
        memo: Memo,
        signers: Callable[[Name], list[Certificate]],
        prove: Callable[[Certificate, TrustAnchor], None],
    ) -> None:
        self._crls = crls
        self._at = at
        self._budget = budget
        self._memo = memo
        self._signers = signers
        self._prove = prove
        self._proving: set[bytes] = set()
        self._proven: set[tuple[bytes, bytes]] = set()

    def check(self, path: Sequence[Certificate], anchor: TrustAnchor) -> tuple[NotRevoked, ...]:
        """A proof for each certificate of `path` (leaf first, anchor last) but the anchor.

        Raises `Refused`: certificate_revoked at once when the leaf is, else the most useful refusal of
        all certificates, so that "revoked" is told before "unknown".
        """
        proofs = []
        failure: Refused | None = None
        for position, certificate in enumerate(path[:-1]):
            try:
                proofs.append(self._certificate(certificate, path[position + 1 :], anchor))
            except Refused as refusal:
                if refusal.reason is Reason.BUDGET_EXCEEDED or (position == 0 and _is_revoked(refusal)):
                    raise
                failure = more_useful(failure, refusal)
        if failure is not None:
            raise failure
        return tuple(proofs)

    def _certificate(self, certificate: Certificate, above: Sequence[Certificate], anchor: TrustAnchor) -> NotRevoked:
        """6.3.3 for one certificate, whose issuer is `above[0]`: point by point until all reasons are covered."""
        covered: Reasons = frozenset()
        used: list[Crl] = []
        why = ""
        for point in _points(certificate):
            if covered >= ALL_REASONS:
                break
            for complete in self._candidates(certificate, point, above, anchor):
                reasons = point.reasons & _crl_reasons(complete)
                if reasons <= covered:  # 6.3.3 (e)
                    continue
                problem = self._stale(complete)
                if problem:
                    why = why or problem
                    continue
                used += self._ask(certificate, complete, above, anchor)
                covered |= reasons
        if covered >= ALL_REASONS:
            return NotRevoked(_SEAL, certificate, tuple(used))
        detail = why or f"no CRL of {certificate.issuer.text} speaks for it"
        raise Refused(Reason.REVOCATION_UNKNOWN, detail, certificate=certificate.der)

    def _candidates(
        self, certificate: Certificate, point: _Point, above: Sequence[Certificate], anchor: TrustAnchor
    ) -> list[Crl]:
        """The current complete CRLs in scope of `point`, one of each key and scope, their signatures verified."""
        groups: dict[tuple[bytes, bytes], list[Crl]] = {}
        for issuer in point.crl_issuers:
            for crl in self._crls.of(issuer):
                if crl.is_delta or crl.this_update > self._at or not _in_scope(crl, certificate, point):
                    continue
                signer = self._signer(crl, certificate, above, anchor)
                if signer is not None:
                    groups.setdefault((signer.spki, crl.scope), []).append(crl)
        return [crl for crls in groups.values() for crl in current(crls)]

    def _stale(self, crl: Crl) -> str:
        """Why the CRL says nothing now, or nothing at all; empty when it does."""
        if crl.next_update is None:
            return f"the CRL of {crl.issuer.text} has no nextUpdate"
        if crl.next_update < self._at:
            return f"the CRL of {crl.issuer.text} expired on {crl.next_update:%Y-%m-%d %H:%M:%SZ}"
        return ""

    def _ask(
        self, certificate: Certificate, complete: Crl, above: Sequence[Certificate], anchor: TrustAnchor
    ) -> list[Crl]:
        """Look the certificate up in a complete CRL and its deltas: 6.3.3 (i) to (k). Raises `Refused` when listed."""
        deltas = self._deltas(certificate, complete, above, anchor)
        for delta in deltas:
            listed = delta.index.find(certificate.serial, certificate.issuer)
            if listed is not None and listed.reason != REMOVE_FROM_CRL:
                raise _revoked(certificate, delta, listed)
        listed = complete.index.find(certificate.serial, certificate.issuer)
        removed = any(
            entry is not None and entry.reason == REMOVE_FROM_CRL
            for entry in (one.index.find(certificate.serial, certificate.issuer) for one in deltas)
        )
        if listed is not None and not removed:
            raise _revoked(certificate, complete, listed)
        for crl in (complete, *deltas):
            if crl.unusable:
                detail = f"the CRL of {crl.issuer.text} has a {crl.unusable}"
                raise Refused(Reason.REVOCATION_UNKNOWN, detail, certificate=certificate.der)
        return [complete, *deltas]

    def _deltas(
        self, certificate: Certificate, complete: Crl, above: Sequence[Certificate], anchor: TrustAnchor
    ) -> list[Crl]:
        """The current deltas to `complete` (6.3.3 (c)): same issuer, scope and key, a base no newer than it."""
        found = []
        signer = self._signer(complete, certificate, above, anchor)
        for crl in self._crls.of(complete.issuer):
            fits = crl.is_delta and crl.scope == complete.scope and crl.this_update <= self._at
            if not fits or not _extends(crl, complete) or self._stale(crl):
                continue
            delta_signer = self._signer(crl, certificate, above, anchor)
            if signer is not None and delta_signer is not None and delta_signer.spki == signer.spki:
                found.append(crl)
        return current(found)

    def _signer(
        self, crl: Crl, certificate: Certificate, above: Sequence[Certificate], anchor: TrustAnchor
    ) -> Certificate | None:
        """Who signed `crl`, if he may speak on this path: 6.3.3 (f) and (g); None if nobody who may has.

        A certificate of the path above needs no further path; anybody else needs one to the same anchor,
        found good now, revocation included.
        """
        for one in above:
            if one.subject == crl.issuer and self._signed_by(crl, one):
                return one
        if self._speaks_for_itself(crl, certificate):
            return certificate
        for one in self._signers(crl.issuer):
            if one not in above and self._signed_by(crl, one) and self._has_path(one, anchor):
                return one
        return None

    def _speaks_for_itself(self, crl: Crl, certificate: Certificate) -> bool:
        """Whether a CRL signer, while he is being proven, is told good by his own CRL because his CA said he may.

        His CA named him as the issuer of the CRL for his own certificate, and let him sign CRLs.
        """
        if certificate.sha256 not in self._proving or certificate.subject != crl.issuer:
            return False
        named = [name for one in certificate.extensions.distribution_points for name in one.crl_issuer or ()]
        directories = [Name(one.value) for one in named if isinstance(one, x509.DirectoryName)]
        usage = certificate.extensions.key_usage
        return crl.issuer in directories and usage is not None and self._signed_by(crl, certificate)

    def _signed_by(self, crl: Crl, signer: Certificate) -> bool:
        """Whether this key signed the CRL, and may; verified once for all time."""
        if not could_be_signed_by(crl, signer) or not may_sign_crls(signer):
            return False
        key = (crl.sha256, signer.spki)
        if self._memo.verified_crl(key):
            return True
        try:
            self._budget.spend_signature(signer.key_cost)
            verify_signature(signer.public_key, crl.signed)
        except Refused as refusal:
            if refusal.reason is Reason.BUDGET_EXCEEDED:
                raise
            return False
        self._memo.admit_crl(key)
        return True

    def _has_path(self, signer: Certificate, anchor: TrustAnchor) -> bool:
        key = (signer.sha256, anchor.certificate.sha256)
        if key in self._proven or signer == anchor.certificate:
            return True
        # A signer whose own status hangs on a CRL that he signed proves nothing.
        if signer.sha256 in self._proving:
            return False
        self._proving.add(signer.sha256)
        try:
            self._prove(signer, anchor)
        except Refused as refusal:
            if refusal.reason is Reason.BUDGET_EXCEEDED:
                raise
            return False
        finally:
            self._proving.discard(signer.sha256)
        self._proven.add(key)
        return True


def _points(certificate: Certificate) -> Iterable[_Point]:
    """The certificate's distribution points, then the implied one: its issuer's name (6.3.3, last paragraph)."""
    for one in certificate.extensions.distribution_points:
        issuers = tuple(Name(n.value) for n in one.crl_issuer or () if isinstance(n, x509.DirectoryName))
        names = _names(one.full_name, one.relative_name, issuers or (certificate.issuer,))
        if not names:
            names = frozenset(issuers)
        reasons = ALL_REASONS if one.reasons is None else frozenset(one.reasons)
        yield _Point(names, issuers or (certificate.issuer,), reasons)
    yield _Point(frozenset({certificate.issuer}), (certificate.issuer,), ALL_REASONS)


def _names(
    full: Sequence[x509.GeneralName] | None, relative: x509.RelativeDistinguishedName | None, issuers: tuple[Name, ...]
) -> frozenset[object]:
    """The names of a distribution point, comparable; a relative one is made full by the issuers it hangs from."""
    if relative is not None:
        return frozenset(issuer.extended(relative) for issuer in issuers)
    return frozenset(Name(one.value) if isinstance(one, x509.DirectoryName) else one for one in full or ())


def _in_scope(crl: Crl, certificate: Certificate, point: _Point) -> bool:
    """6.3.3 (b): whether the CRL speaks for this certificate at this point."""
    idp = crl.idp
    if crl.issuer != certificate.issuer and not crl.indirect:  # (b) (1)
        return False
    if idp is None:
        return True
    names = _names(idp.full_name, idp.relative_name, (crl.issuer,))
    if names and not names & point.names:  # (b) (2) (i)
        return False
    ca = certificate.extensions.ca
    if (idp.only_contains_user_certs and ca) or (idp.only_contains_ca_certs and not ca):  # (b) (2) (ii) and (iii)
        return False
    return not idp.only_contains_attribute_certs  # (b) (2) (iv)


def _crl_reasons(crl: Crl) -> Reasons:
    """6.3.3 (d): the reasons the CRL covers."""
    some = None if crl.idp is None else crl.idp.only_some_reasons
    return ALL_REASONS if some is None else frozenset(some)


def _extends(delta: Crl, complete: Crl) -> bool:
    """6.3.3 (c) (4) to (6): the delta starts at or before the complete CRL, and ends after it."""
    if delta.base_number is None or complete.number is None or delta.number is None:
        return False
    return delta.base_number <= complete.number < delta.number


def _is_revoked(refusal: Refused) -> bool:
    return refusal.reason is Reason.CERTIFICATE_REVOKED


def _revoked(certificate: Certificate, crl: Crl, listed: Listed) -> Refused:
    reason = "" if listed.reason is None else f", reason code {listed.reason}"
    detail = f"listed in the CRL of {crl.issuer.text} of {crl.this_update:%Y-%m-%d %H:%M:%SZ}{reason}"
    return Refused(Reason.CERTIFICATE_REVOKED, detail, certificate=certificate.der)
