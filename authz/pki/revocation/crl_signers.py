"""Which keys may sign the CRLs of a certificate's position on a path (RFC 5280 section 6.3.3 (f) and (g)).

A CRL belongs to a key, not to a name. Its signer is a CA of the path itself, or has a path of its own to the same
anchor at this moment, with a revocation status of its own. In one thing this is stricter than the RFC: a CRL
under the name of the certificate's issuer, but signed by another key, counts only if that key was certified
by the CA that certified the issuer's own. Two CAs that share a name below different CAs are strangers.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refused
from authz.pki.x509.algorithms import verify_signature
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.distribution_points import directory_names
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.pki.budget import Budget
    from authz.pki.cache.verified import VerifiedCache
    from authz.pki.crl.crl import Crl
    from authz.pki.x509.distinguished_name import Name
    from authz.pki.x509.trust_anchor import TrustAnchor

MAX_NESTING: Final = 4
"""CRL signers whose own status depends on the CRL of another signer. PKITS goes one deep; this bounds recursion."""


class PathPosition(NamedTuple):
    """One certificate of a path, the certificates above it up to the anchor's own, and the anchor."""

    certificate: Certificate
    above: Sequence[Certificate]
    anchor: TrustAnchor


Prove = Callable[[Certificate, "TrustAnchor"], Sequence[Certificate]]
"""The path from a signer to the anchor, verified and not revoked. Raises `Refused`."""


class CrlSigners:
    """Finds the signers of CRLs during one check.

    `named` finds certificates by subject among the known and the presented ones, `proving` holds the
    SHA-256 of signers whose path is being built.
    """

    def __init__(
        self,
        budget: Budget,
        verified: VerifiedCache,
        named: Callable[[Name], list[Certificate]],
        prove: Prove,
        proving: set[bytes],
    ) -> None:
        self._budget = budget
        self._verified = verified
        self._named = named
        self._prove = prove
        self.proving = proving
        self._paths: dict[tuple[bytes, bytes], Sequence[Certificate]] = {}

    def on_path(self, name: Name, position: PathPosition) -> list[Certificate]:
        """The certificates that may have signed CRLs under `name` and need no further path, one for each key."""
        signers: list[Certificate] = []
        for certificate in position.above:
            if certificate.subject == name:
                signers += (certificate,) if may_sign_crls(certificate) else ()
            elif name == position.certificate.issuer:
                # A CA of the issuer's name further up, with others between, is another CA.
                break
        if self.proving and self._signs_for_itself(name, position.certificate):
            signers.append(position.certificate)
        return signers if len(signers) < 2 else list({signer.spki_sha256: signer for signer in signers}.values())

    def beside_path(self, name: Name, keys: Container[bytes]) -> Iterator[Certificate]:
        """Other certificates that may have signed CRLs under `name`, if they have a path; `keys` are on the path."""
        for certificate in self._named(name):
            if _is_crl_signer(certificate) and certificate.spki_sha256 not in keys:
                self._budget.spend_step()
                yield certificate

    def known(self, name: Name, position: PathPosition) -> list[Certificate]:
        """Every certificate of that name on the path or known, whether it may sign CRLs or not: one for each key.

        One that cannot be read is left out.
        """
        above = (certificate for certificate in position.above if certificate.subject == name)
        signers = filter(is_readable, (*above, *self._named(name)))
        return list({signer.spki_sha256: signer for signer in signers}.values())

    def verifying(self, crl: Crl, signers: Iterable[Certificate]) -> list[Certificate]:
        """6.3.3 (g): those of `signers` under whose key the signature of `crl` verifies."""
        return [signer for signer in signers if self._verifies(crl, signer)]

    def signed(self, signer: Certificate, crls: Iterable[Crl]) -> list[Crl]:
        """6.3.3 (g): those of `crls` that this key signed."""
        return [crl for crl in crls if self._verifies(crl, signer)]

    def is_authorized(self, signer: Certificate, name: Name, position: PathPosition) -> bool:
        """6.3.3 (f): whether a signer beside the path has one of its own to the same anchor.

        One that a distribution point names as cRLIssuer needs no more. One that bears the name of the
        certificate's issuer must be that CA: certified, through its own earlier keys if need be, by the
        key that certified it on this path.
        """
        path = self._path_of(signer, position.anchor)
        if not path or name != position.certificate.issuer:
            return bool(path)
        return _certified_by(path, name) == _certified_by(position.above, name)

    def _signs_for_itself(self, name: Name, certificate: Certificate) -> bool:
        """Whether a CRL signer that is being proven may be found good by its own CRL, because its CA allowed that.

        The CA named the signer, under another name than the CA's own, as the issuer of the CRL for the signer's
        certificate, and let it sign CRLs.
        """
        if certificate.sha256 not in self.proving or certificate.subject != name or certificate.self_issued:
            return False
        points = certificate.extensions.distribution_points
        return any(name in directory_names(point.crl_issuer or ()) for point in points) and _is_crl_signer(certificate)

    def _verifies(self, crl: Crl, signer: Certificate) -> bool:
        """That a key signed a CRL, or did not, never changes; the CRL itself has the last key, for all tenants.

        What another tenant's check found out saves time, and counts all the same: no decision depends on neighbours.
        """
        key = (crl.sha256, signer.spki_sha256)
        verdict = self._verified.crl_verdict(key)
        if verdict is None:
            self._budget.spend_signature(signer.key_cost)
            verdict = crl.signed_by == signer.spki_sha256 or _verifies(crl, signer)
            self._verified.admit_crl(key, verified=verdict)
            if verdict:
                crl.signed_by = signer.spki_sha256
        return verdict

    def _path_of(self, signer: Certificate, anchor: TrustAnchor) -> Sequence[Certificate]:
        """The path from the signer to the anchor, verified and not revoked at this moment; empty without one."""
        key = (signer.sha256, anchor.certificate.sha256)
        if key in self._paths:
            return self._paths[key]
        # A signer whose own status depends on a CRL that it signed proves nothing.
        if signer.sha256 in self.proving or len(self.proving) >= MAX_NESTING:
            return ()
        self.proving.add(signer.sha256)
        path: Sequence[Certificate] = ()
        try:
            path = self._prove(signer, anchor)
        except Refused as refusal:
            if refusal.reason is Reason.BUDGET_EXCEEDED:
                raise
        finally:
            self.proving.discard(signer.sha256)
        # A failure inside the proof of another signer may be due to that one being unproven yet.
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
    if not is_readable(certificate):
        return False
    usage = certificate.extensions.key_usage
    return certificate.extensions.ca if usage is None else "cRLSign" in usage


def is_readable(certificate: Certificate) -> bool:
    """Whether extensions and key of a certificate can be read, without which it verifies no CRL."""
    try:
        return bool(certificate.extensions and certificate.plain_spki_sha256 and certificate.key_cost)
    except Refused:
        return False


def _certified_by(path: Sequence[Certificate], name: Name) -> tuple[Name, bytes] | None:
    """Name and key of the first certificate of `path` with another subject than `name`; None if all have that."""
    return next(((ca.subject, ca.spki_sha256) for ca in path if ca.subject != name), None)


def may_sign_crls(certificate: Certificate) -> bool:
    """Whether key usage lets the certificate's key sign CRLs (RFC 5280 section 6.3.3 (f))."""
    usage = certificate.extensions.key_usage
    return usage is None or "cRLSign" in usage


def signer_of(crl: Crl, candidates: Sequence[Certificate], signers: Container[bytes] = ()) -> Certificate:
    """The certificate among `candidates` whose key signed `crl`: its subject is the CRL's issuer, and it may sign CRLs.

    From an ECDSA signature anybody computes another key that verifies it (SEC 1 section 4.1.6), and a CA can certify
    that under any name, but it verifies nothing else. So of several keys one of `signers` comes first, which are those
    (`Certificate.plain_spki_sha256`) of other CRLs; then one that signed one of `candidates`; then the first.
    Proves nothing about the signer itself. Raises `Refused` for the first rule that all fail: algorithm_not_allowed,
    revocation_unknown (no candidate has that name), signature_invalid, key_usage_not_allowed.
    """
    signed, issuer = crl.signed, crl.issuer.text
    named = [certificate for certificate in candidates if _is_called(certificate, crl.issuer)]
    if not named:
        raise Refused(Reason.REVOCATION_UNKNOWN, f"no known CA is called {issuer}, as the issuer of the CRL is")
    failure = Refused(Reason.SIGNATURE_INVALID, f"no known CA called {issuer} has the key that signed the CRL")
    by_key: dict[bytes, Certificate] = {}
    for certificate in named:
        with suppress(Refused):
            verify_signature(certificate.public_key, signed)
            if may_sign_crls(certificate):
                by_key.setdefault(certificate.plain_spki_sha256, certificate)
            else:
                detail = f"the key usage of {issuer}, which signed it, lacks cRLSign"
                failure = Refused(Reason.KEY_USAGE_NOT_ALLOWED, detail)
    if not by_key:
        raise failure

    def doubts(signer: Certificate) -> tuple[bool, bool]:
        return signer.plain_spki_sha256 not in signers, not _signed_any(signer, candidates)

    return min(by_key.values(), key=doubts) if len(by_key) > 1 else next(iter(by_key.values()))


def _is_called(certificate: Certificate, name: Name) -> bool:
    """Whether that is its subject; one that cannot be read, of whatever tenant, is nothing's signer."""
    with suppress(Refused):
        return certificate.subject == name
    return False


def _signed_any(signer: Certificate, certificates: Iterable[Certificate]) -> bool:
    """Whether one of the certificates, the signer's own perhaps, is signed by the signer's key."""
    for certificate in certificates:
        with suppress(Refused):
            if certificate.issuer == signer.subject:
                verify_signature(signer.public_key, certificate.signed)
                return True
    return False
