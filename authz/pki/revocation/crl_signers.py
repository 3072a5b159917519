"""Who may speak through a CRL on a path (RFC 5280 section 6.3.3 (f) and (g)).

A CRL speaks for a key, not for a name. Its signer is a CA of the path itself, or has now a path of his own
to the same anchor, with a revocation status of his own. In one thing this is stricter than the RFC: a CRL
under the name of the certificate's issuer, but signed by another key, counts only if that key was certified
from where the issuer's own was. Two CAs that share a name below different CAs are strangers.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refused
from authz.pki.revocation.crl_store import may_sign_crls
from authz.pki.x509.algorithms import verify_signature
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.distribution_points import directory_names
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.pki.budget import Budget
    from authz.pki.cache.verified import Memo
    from authz.pki.crl.crl import Crl
    from authz.pki.path.trust_store import TrustAnchor
    from authz.pki.revocation.checker import RevocationChecker
    from authz.pki.x509.distinguished_name import Name

MAX_NESTING: Final = 4
"""CRL signers whose own status hangs on the CRL of yet another signer. PKITS goes one deep; this bounds recursion."""


class Link(NamedTuple):
    """One certificate in its place on a path: those above it, the anchor last."""

    certificate: Certificate
    above: Sequence[Certificate]
    anchor: TrustAnchor


Prove = Callable[[Certificate, "TrustAnchor", "RevocationChecker"], Sequence[Certificate]]
"""Gives the path of a signer to the anchor, verified and, by the checker, not revoked. Raises `Refused`."""


class CrlSigners:
    """Finds the signers of CRLs during one check.

    `named` finds certificates by subject among all that is known or was presented, `proving` holds the
    SHA-256 of those that are being proven right now.
    """

    def __init__(
        self,
        budget: Budget,
        memo: Memo,
        named: Callable[[Name], list[Certificate]],
        prove: Prove,
        proving: set[bytes],
    ) -> None:
        self._budget = budget
        self._memo = memo
        self._named = named
        self._prove = prove
        self.proving = proving
        self._paths: dict[tuple[bytes, bytes], Sequence[Certificate]] = {}

    def on_path(self, name: Name, link: Link) -> list[Certificate]:
        """Who may have signed CRLs under `name` and needs no further path, one for each key."""
        found: list[Certificate] = []
        for one in link.above:
            if one.subject == name:
                found += (one,) if may_sign_crls(one) else ()
            elif name == link.certificate.issuer:
                # Whoever bears the issuer's name further up, with others between, is somebody else.
                break
        if self.proving and self._speaks_for_itself(name, link.certificate):
            found.append(link.certificate)
        return found if len(found) < 2 else list({one.spki_sha256: one for one in found}.values())

    def beside_path(self, name: Name, keys: Container[bytes]) -> Iterator[Certificate]:
        """Who else may have signed CRLs under `name`, if he turns out to have a path; `keys` are those on the path."""
        for one in self._named(name):
            if _is_crl_signer(one) and one.spki_sha256 not in keys:
                self._budget.spend_step()
                yield one

    def signed(self, signer: Certificate, crls: Iterable[Crl]) -> list[Crl]:
        """6.3.3 (g): those of `crls` that this key signed."""
        return [one for one in crls if self._verifies(one, signer)]

    def may_speak(self, signer: Certificate, name: Name, link: Link, checker: RevocationChecker) -> bool:
        """6.3.3 (f): whether a signer beside the path has one of his own to the same anchor.

        One that a distribution point names as cRLIssuer needs no more. One that bears the name of the
        certificate's issuer must be that CA: certified, through its own earlier keys if need be, by the
        key that certified it on this path.
        """
        path = self._path_of(signer, link.anchor, checker)
        if not path or name != link.certificate.issuer:
            return bool(path)
        return _certified_by(path, name) == _certified_by(link.above, name)

    def _speaks_for_itself(self, name: Name, certificate: Certificate) -> bool:
        """Whether a CRL signer, while he is being proven, is told good by his own CRL because his CA said he may.

        His CA named him, under another name than its own, as the issuer of the CRL for his own
        certificate, and let him sign CRLs.
        """
        if certificate.sha256 not in self.proving or certificate.subject != name or certificate.self_issued:
            return False
        stated = certificate.extensions.distribution_points
        return any(name in directory_names(one.crl_issuer or ()) for one in stated) and _is_crl_signer(certificate)

    def _verifies(self, crl: Crl, signer: Certificate) -> bool:
        """That a key signed a CRL, or did not, never changes."""
        key = (crl.sha256, signer.spki_sha256)
        known = self._memo.crl_verdict(key)
        if known is None:
            self._budget.spend_signature(signer.key_cost)
            known = _verifies(crl, signer)
            self._memo.admit_crl(key, verified=known)
        return known

    def _path_of(self, signer: Certificate, anchor: TrustAnchor, checker: RevocationChecker) -> Sequence[Certificate]:
        """The signer's own path to the anchor, he included, verified and not revoked now; empty without one."""
        key = (signer.sha256, anchor.certificate.sha256)
        if key in self._paths:
            return self._paths[key]
        # A signer whose own status hangs on a CRL that he signed proves nothing.
        if signer.sha256 in self.proving or len(self.proving) >= MAX_NESTING:
            return ()
        self.proving.add(signer.sha256)
        path: Sequence[Certificate] = ()
        try:
            path = self._prove(signer, anchor, checker)
        except Refused as refusal:
            if refusal.reason is Reason.BUDGET_EXCEEDED:
                raise
        finally:
            self.proving.discard(signer.sha256)
        # A failure inside the proof of another may be owed to that one's being unproven yet.
        if path or not self.proving:
            self._paths[key] = path
        return path


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
        return bool(certificate.spki_sha256 and certificate.key_cost) and (
            certificate.extensions.ca if usage is None else "cRLSign" in usage
        )
    except Refused:
        return False


def _certified_by(path: Sequence[Certificate], name: Name) -> tuple[Name, bytes] | None:
    """Name and key of the first certificate of `path` that is not called `name`; None if all are."""
    return next(((one.subject, one.spki_sha256) for one in path if one.subject != name), None)
