"""Whether a certificate is known not to be revoked (RFC 5280 section 6.3).

Unknown is not good: a certificate passes only when CRLs for all reasons speak for it, are current,
are signed by its issuer on this path or by somebody with a path of his own to the same anchor, and
none that speaks for it lists it.

In two things this is stricter than section 6.3.3, which stops at the first CRLs that cover all reasons.
Every CRL that speaks is asked, so that one in which a certificate is missing never hides one in which
it is listed. And a CRL under the name of the certificate's issuer, but signed by another key, counts
only if that key was certified from where the issuer's own was: two CAs that share a name below different
CAs are strangers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refused
from authz.pki.algorithms import verify_signature
from authz.pki.crl import Crl
from authz.pki.crl_group import CrlGroup
from authz.pki.crl_index import Listed
from authz.pki.crl_store import CrlStore, Shelf, may_sign_crls
from authz.pki.distribution_point import ALL_REASONS, Point, directory_names
from authz.pki.ranking import more_useful
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from authz.pki.budget import Budget
    from authz.pki.certificate import Certificate
    from authz.pki.memo import Memo
    from authz.pki.names import Name
    from authz.pki.trust_store import TrustAnchor

MAX_NESTING: Final = 4
"""CRL signers whose own status hangs on the CRL of yet another signer. PKITS goes one deep; this bounds recursion."""

_SEAL = object()


class NotRevoked:
    """The proof that a certificate was listed nowhere, with the CRLs that were asked; made below only."""

    __slots__ = ("certificate", "crls")

    def __init__(self, seal: object, certificate: Certificate, crls: tuple[Crl, ...]) -> None:
        if seal is not _SEAL:
            raise TypeError("a NotRevoked is made by the revocation check alone")
        self.certificate = certificate
        self.crls = crls


class _Link(NamedTuple):
    """One certificate in its place: those above it, the anchor last."""

    certificate: Certificate
    above: Sequence[Certificate]
    anchor: TrustAnchor


class RevocationChecker:
    """Checks certificates of paths to one anchor at one moment.

    `signers` finds certificates by subject among all that is known or was presented; `prove` gives the
    path of one of them to the anchor, verified and not revoked, and raises `Refused` if there is none.
    """

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
        self._memo = memo
        self._signers = signers
        self._prove = prove
        self._proving: set[bytes] = set()
        self._paths: dict[tuple[bytes, bytes], Sequence[Certificate]] = {}

    def check(self, path: Sequence[Certificate], anchor: TrustAnchor) -> tuple[NotRevoked, ...]:
        """A proof for each certificate of `path` (leaf first, anchor last) but the anchor.

        Raises `Refused`: certificate_revoked at once when the leaf is, else the most useful refusal of
        all certificates, so that "revoked" is told before "unknown".
        """
        proofs = []
        failure: Refused | None = None
        for position, certificate in enumerate(path[:-1]):
            try:
                proofs.append(self._certificate(_Link(certificate, path[position + 1 :], anchor)))
            except Refused as refusal:
                if refusal.reason is Reason.BUDGET_EXCEEDED or (position == 0 and _is_revoked(refusal)):
                    raise
                failure = more_useful(failure, refusal)
        if failure is not None:
            raise failure
        return tuple(proofs)

    def _certificate(self, link: _Link) -> NotRevoked:
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

    def _groups(self, link: _Link, point: Point) -> list[CrlGroup]:
        """The CRLs in scope of `point`, by key and scope, each signed by somebody who may speak on this path."""
        found: list[CrlGroup] = []
        for name in point.crl_issuers:
            self._budget.spend_step()
            shelf = self._crls.under(name)
            if shelf is not None:
                found += self._on_shelf(shelf, name, link, point)
        return found

    def _on_shelf(self, shelf: Shelf, name: Name, link: _Link, point: Point) -> list[CrlGroup]:
        found: list[CrlGroup] = []
        signed = 0
        signers = self._on_path(name, link)
        for signer in signers:
            mine = self._signed_by(signer, shelf.find(point.names, signer.spki))
            signed += len(mine)
            found += self._in_scope(mine, link.certificate)
        if signed < shelf.size:
            found += self._beside_path(shelf, name, link, point, {one.spki for one in signers})
        return found

    def _beside_path(self, shelf: Shelf, name: Name, link: _Link, point: Point, keys: set[bytes]) -> Iterator[CrlGroup]:
        """Those of signers who are not on the path; `keys` are those that are."""
        for signer in self._signers(name):
            if not _is_crl_signer(signer) or signer.spki in keys:
                continue
            self._budget.spend_step()
            mine = self._signed_by(signer, shelf.find(point.names, signer.spki))
            groups = self._in_scope(mine, link.certificate)
            if groups and self._may_speak(signer, name, link):
                yield from groups

    def _in_scope(self, crls: Iterable[Crl], certificate: Certificate) -> list[CrlGroup]:
        """The CRLs of one key that speak for the certificate, by scope; one from the future says nothing yet."""
        spoken = [one for one in crls if one.this_update <= self._at and _speaks_for(one, certificate)]
        scopes: dict[bytes, list[Crl]] = {}
        for crl in spoken:
            scopes.setdefault(crl.scope, []).append(crl)
        return [group for group in map(CrlGroup.of, scopes.values()) if group.complete]

    def _on_path(self, name: Name, link: _Link) -> list[Certificate]:
        """Who may have signed CRLs under `name` and needs no further path, one for each key."""
        found = [one for one in link.above if one.subject == name and may_sign_crls(one)]
        if self._proving and self._speaks_for_itself(name, link.certificate):
            found.append(link.certificate)
        return found if len(found) < 2 else list({one.spki: one for one in found}.values())

    def _speaks_for_itself(self, name: Name, certificate: Certificate) -> bool:
        """Whether a CRL signer, while he is being proven, is told good by his own CRL because his CA said he may.

        His CA named him as the issuer of the CRL for his own certificate, and let him sign CRLs.
        """
        if certificate.sha256 not in self._proving or certificate.subject != name:
            return False
        stated = certificate.extensions.distribution_points
        return any(name in directory_names(one.crl_issuer or ()) for one in stated) and _is_crl_signer(certificate)

    def _signed_by(self, signer: Certificate, crls: Iterable[Crl]) -> list[Crl]:
        """6.3.3 (g): those of `crls` that this key signed."""
        return [one for one in crls if self._verifies(one, signer)]

    def _verifies(self, crl: Crl, signer: Certificate) -> bool:
        """That a key signed a CRL, or did not, never changes."""
        key = (crl.sha256, signer.spki)
        known = self._memo.crl_verdict(key)
        if known is None:
            self._budget.spend_signature(signer.key_cost)
            known = _verifies(crl, signer)
            self._memo.admit_crl(key, verified=known)
        return known

    def _may_speak(self, signer: Certificate, name: Name, link: _Link) -> bool:
        """6.3.3 (f): whether a signer beside the path has one of his own to the same anchor.

        One that a distribution point names as cRLIssuer needs no more. One that bears the name of the
        certificate's issuer must be that CA: certified, through its own earlier keys if need be, by the
        key that certified it on this path.
        """
        path = self._path_of(signer, link.anchor)
        if not path or name != link.certificate.issuer:
            return bool(path)
        return _certified_by(path, name) == _certified_by(link.above, name)

    def _path_of(self, signer: Certificate, anchor: TrustAnchor) -> Sequence[Certificate]:
        """The signer's own path to the anchor, he included, verified and not revoked now; empty without one."""
        key = (signer.sha256, anchor.certificate.sha256)
        if key in self._paths:
            return self._paths[key]
        # A signer whose own status hangs on a CRL that he signed proves nothing.
        if signer.sha256 in self._proving or len(self._proving) >= MAX_NESTING:
            return ()
        self._proving.add(signer.sha256)
        path: Sequence[Certificate] = ()
        try:
            path = self._prove(signer, anchor)
        except Refused as refusal:
            if refusal.reason is Reason.BUDGET_EXCEEDED:
                raise
        finally:
            self._proving.discard(signer.sha256)
        # A failure inside the proof of another may be owed to that one's being unproven yet.
        if path or not self._proving:
            self._paths[key] = path
        return path


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


def _verifies(crl: Crl, signer: Certificate) -> bool:
    try:
        verify_signature(signer.public_key, crl.signed)
    except Refused:
        return False
    return True


def _is_crl_signer(certificate: Certificate) -> bool:
    """Whether a certificate beside the path can be read, and says of itself that its key signs CRLs.

    6.3.3 (f) lets a certificate without key usage pass; section 4.2.1.3 has every CA put it into those
    of CRL signers, so that here only a CA may go without.
    """
    try:
        usage = certificate.extensions.key_usage
        return bool(certificate.spki and certificate.key_cost) and (
            certificate.extensions.ca if usage is None else "cRLSign" in usage
        )
    except Refused:
        return False


def _certified_by(path: Sequence[Certificate], name: Name) -> tuple[Name, bytes] | None:
    """Name and key of the first certificate of `path` that is not called `name`; None if all are."""
    return next(((one.subject, one.spki) for one in path if one.subject != name), None)


def _is_revoked(refusal: Refused) -> bool:
    return refusal.reason is Reason.CERTIFICATE_REVOKED


def _revoked(certificate: Certificate, crl: Crl, entry: Listed) -> Refused:
    reason = "" if entry.reason is None else f", reason code {entry.reason}"
    detail = f"listed in the CRL of {crl.issuer.text} of {crl.this_update:%Y-%m-%d %H:%M:%SZ}{reason}"
    return Refused(Reason.CERTIFICATE_REVOKED, detail, certificate=certificate.der)
