"""Whether a CRL says that the key of a certificate is compromised: that ends whatever rests on the key.

The certificate may have expired or been replaced: what its CA said of its key holds for all certificates of the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.pki.context import Validation
from authz.pki.path.builder import revocation_checker
from authz.pki.path.candidates import CandidateIssuers
from authz.pki.path.validator import signature_refusal
from authz.pki.revocation.crl_signers import PathPosition, is_readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from authz.pki.crl.crl import Crl
    from authz.pki.path.builder import VerifiedPath
    from authz.pki.path.trust_store import TrustStore
    from authz.pki.x509.certificate import Certificate

COMPROMISED: Final = frozenset({1, 2})
"""keyCompromise and cACompromise (RFC 5280 section 5.3.1)."""


def compromised_by(
    certificate: Certificate,
    path: VerifiedPath,
    trust: TrustStore,
    validation: Validation,
    stored: Sequence[Certificate] = (),
) -> Crl | None:
    """The CRL that lists `certificate` for a compromise of its key; None, as a rule, without one.

    Its issuer is one of the CAs on `path`, known in `trust`, or among the CAs `stored` with it, which need no path, for
    they admit nothing. A CRL that is overdue counts as well. Raises `Refused` (budget_exceeded, or what keeps one of
    the certificates from being read).
    """
    if validation.crls is None:
        return None
    candidates = CandidateIssuers((), certificate, trust, validation.budget)
    checker = revocation_checker(candidates, trust, validation, validation.crls)
    for above in _issuers(certificate, path, trust, stored):
        if _signed_by(certificate, above[0], trust, validation):
            for crl, entry in checker.listed(PathPosition(certificate, above, path.anchor)):
                if entry.reason in COMPROMISED:
                    return crl
    return None


def _issuers(
    certificate: Certificate, path: VerifiedPath, trust: TrustStore, stored: Sequence[Certificate]
) -> Iterator[Sequence[Certificate]]:
    """The CAs of the issuer's name, each with those above it as far as they are known."""
    for height, ca in enumerate(path.certificates[1:], 1):
        if ca.subject == certificate.issuer:
            yield path.certificates[height:]
    for ca in (*(known for known, _ in trust.named(certificate.issuer)), *filter(is_readable, stored)):
        if ca.subject == certificate.issuer and ca not in path.certificates:
            yield (ca,)


def _signed_by(certificate: Certificate, ca: Certificate, trust: TrustStore, validation: Validation) -> bool:
    key = (certificate.sha256, ca.spki_sha256)
    if trust.verified.verified(key):
        return True
    validation.budget.spend_signature(ca.key_cost)
    if signature_refusal(certificate, ca) is not None:
        return False
    trust.verified.admit([certificate], [key])
    return True
