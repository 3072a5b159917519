"""Whether a certificate is known not to be revoked (RFC 5280 section 6.3).

Unknown is not good: a certificate passes only when CRLs for all reasons speak for it, are current,
are signed by its issuer on this path or by somebody with a path of his own to the same anchor, and
none that speaks for it lists it.

In one thing this is stricter than section 6.3.3, which stops at the first CRLs that cover all reasons:
every CRL that speaks is asked, so that one in which a certificate is missing never hides one in which it
is listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.crl import Crl
from authz.pki.crl_group import CrlGroup
from authz.pki.crl_index import Listed
from authz.pki.crl_signer import CrlSigners, Link
from authz.pki.crl_store import CrlStore, Shelf
from authz.pki.distribution_point import ALL_REASONS, Point
from authz.pki.ranking import more_useful
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from authz.pki.budget import Budget
    from authz.pki.certificate import Certificate
    from authz.pki.memo import Memo
    from authz.pki.names import Name
    from authz.pki.trust_store import TrustAnchor

_SEAL = object()


class NotRevoked:
    """The proof that a certificate was listed nowhere, with the CRLs that were asked; made below only."""

    __slots__ = ("certificate", "crls")

    def __init__(self, seal: object, certificate: Certificate, crls: tuple[Crl, ...]) -> None:
        if seal is not _SEAL:
            raise TypeError("a NotRevoked is made by the revocation check alone")
        self.certificate = certificate
        self.crls = crls


class RevocationChecker:
    """Checks the certificates of paths at one moment; `signers` and `prove` are for `CrlSigners`."""

    def __init__(
        self,
        crls: CrlStore,
        at: datetime,
        budget: Budget,
        memo: Memo,
        signers: Callable[[Name], list[Certificate]],
        prove: Callable[[Certificate, TrustAnchor], Sequence[Certificate]],
    ) -> None:
        self._crls = crls
        self._at = at
        self._budget = budget
        self._signers = CrlSigners(budget, memo, signers, prove)

    def check(self, path: Sequence[Certificate], anchor: TrustAnchor) -> tuple[NotRevoked, ...]:
        """A proof for each certificate of `path` (leaf first, anchor last) but the anchor.

        Raises `Refused`: certificate_revoked at once when the leaf is, else the most useful refusal of
        all certificates, so that "revoked" is told before "unknown".
        """
        proofs = []
        failure: Refused | None = None
        for position, certificate in enumerate(path[:-1]):
            try:
                proofs.append(self._certificate(Link(certificate, path[position + 1 :], anchor)))
            except Refused as refusal:
                if refusal.reason is Reason.BUDGET_EXCEEDED or (position == 0 and _is_revoked(refusal)):
                    raise
                failure = more_useful(failure, refusal)
        if failure is not None:
            raise failure
        return tuple(proofs)

    def _certificate(self, link: Link) -> NotRevoked:
        """6.3.3 for one certificate: every point it has, every CRL that speaks there."""
        covered = 0
        used: list[Crl] = []
        why = ""
        last_known: Refused | None = None
        for point in link.certificate.crl_points:
            for group in self._groups(link, point):
                answer = group.ask(link.certificate, self._at)
                if answer.listed is not None:
                    last_known = _revoked(link.certificate, *answer.listed)
                    if not answer.stale:
                        raise last_known
                if answer.problem:
                    why = why or answer.problem
                    continue
                used += answer.crls
                # 6.3.3 (d) and (l); all CRLs of a group have the same reasons.
                covered |= point.reasons & answer.crls[0].reasons
        if covered == ALL_REASONS:
            return NotRevoked(_SEAL, link.certificate, tuple(dict.fromkeys(used)))
        raise last_known or self._unknown(link.certificate, why)

    def _unknown(self, certificate: Certificate, why: str) -> Refused:
        held = sum(one.issuer == certificate.issuer for one in self._crls)
        why = why or f"no CRL of {certificate.issuer.text} speaks for it ({held} of that name held)"
        return Refused(Reason.REVOCATION_UNKNOWN, why, certificate=certificate.der)

    def _groups(self, link: Link, point: Point) -> list[CrlGroup]:
        """The CRLs in scope of `point`, by key and scope, each signed by somebody who may speak on this path."""
        found: list[CrlGroup] = []
        for name in point.crl_issuers:
            self._budget.spend_step()
            shelf = self._crls.under(name)
            if shelf is not None:
                found += self._on_shelf(shelf, name, link, point)
        return found

    def _on_shelf(self, shelf: Shelf, name: Name, link: Link, point: Point) -> list[CrlGroup]:
        found: list[CrlGroup] = []
        signed = 0
        signers = self._signers.on_path(name, link)
        for signer in signers:
            mine = self._signers.signed(signer, shelf.find(point.names, signer.spki))
            signed += len(mine)
            found += self._in_scope(mine, link.certificate)
        if signed < shelf.size:
            for signer in self._signers.beside_path(name, {one.spki for one in signers}):
                mine = self._signers.signed(signer, shelf.find(point.names, signer.spki))
                groups = self._in_scope(mine, link.certificate)
                if groups and self._signers.may_speak(signer, name, link):
                    found += groups
        return found

    def _in_scope(self, crls: Iterable[Crl], certificate: Certificate) -> list[CrlGroup]:
        """The CRLs of one key that speak for the certificate, by scope; one from the future says nothing yet."""
        spoken = [one for one in crls if one.this_update <= self._at and _speaks_for(one, certificate)]
        scopes: dict[bytes, list[Crl]] = {}
        for crl in spoken:
            scopes.setdefault(crl.scope, []).append(crl)
        return [group for group in map(CrlGroup.of, scopes.values()) if group.complete]


def _speaks_for(crl: Crl, certificate: Certificate) -> bool:
    """6.3.3 (b), but for the names, by which the CRL was found."""
    idp = crl.idp
    if crl.issuer != certificate.issuer and (idp is None or not idp.indirect_crl):  # (b) (1)
        return False
    if idp is None:
        return True
    ca = certificate.extensions.ca
    if (idp.only_contains_user_certs and ca) or (idp.only_contains_ca_certs and not ca):  # (b) (2) (ii) and (iii)
        return False
    return not idp.only_contains_attribute_certs  # (b) (2) (iv)


def _is_revoked(refusal: Refused) -> bool:
    return refusal.reason is Reason.CERTIFICATE_REVOKED


def _revoked(certificate: Certificate, crl: Crl, entry: Listed) -> Refused:
    reason = "" if entry.reason is None else f", reason code {entry.reason}"
    detail = f"listed in the CRL of {crl.issuer.text} of {crl.this_update:%Y-%m-%d %H:%M:%SZ}{reason}"
    return Refused(Reason.CERTIFICATE_REVOKED, detail, certificate=certificate.der)
