"""The rules of RFC 5280 section 6.1: about one certificate, about one issuer, and about the whole path.

The builder applies the first two while the path grows, so that a branch that cannot succeed is left early;
the rules about the whole path run once an anchor is reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.path.name_constraints import NameConstraints
from authz.pki.path.policy_graph import check_policies
from authz.pki.validation_policy import ANY_EXTENDED_KEY_USAGE
from authz.pki.x509.algorithms import signature_failure
from authz.pki.x509.general_names import comparable_names
from authz.pki.x509.library import named
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from authz.pki.budget import Budget
    from authz.pki.validation_policy import ValidationPolicy
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.trust_anchor import TrustAnchor


def check_certificate(certificate: Certificate, at: datetime, policy: ValidationPolicy, *, stored: bool) -> None:
    """The rules about any certificate on a path, whatever its place: dates, critical extensions, its key.

    `stored`: by the operator, so that a policy may accept more of it. Raises `Refused`: certificate_expired,
    certificate_not_yet_valid, critical_extension_unknown, certificate_malformed, algorithm_not_allowed,
    key_size_not_allowed.
    """
    check_dates(certificate, at)
    # 6.1.4 (o) and 6.1.5 (f)
    if certificate.extensions.unknown_critical:
        first, *others = certificate.extensions.unknown_critical
        detail = f"critical extension {named(first)}" + (f", and {len(others)} more" if others else "")
        raise _refusal(Reason.CRITICAL_EXTENSION_UNKNOWN, detail, certificate)
    policy.algorithms.check_key(certificate.key, certificate.der, stored=stored)


def check_dates(certificate: Certificate, at: datetime) -> None:
    """Whether the certificate is valid at `at`.

    Raises `Refused` (certificate_expired, certificate_not_yet_valid).
    """
    # 6.1.3 (a) (2); both ends of the validity period belong to it (section 4.1.2.5).
    if at > certificate.not_after:
        raise _refusal(
            Reason.CERTIFICATE_EXPIRED, f"expired on {certificate.not_after:%Y-%m-%d %H:%M:%SZ}", certificate
        )
    if at < certificate.not_before:
        detail = f"valid from {certificate.not_before:%Y-%m-%d %H:%M:%SZ}"
        raise _refusal(Reason.CERTIFICATE_NOT_YET_VALID, detail, certificate)


def check_signed(certificate: Certificate, policy: ValidationPolicy, *, stored: bool) -> None:
    """Whether the policy accepts the algorithm of the certificate's signature.

    Raises `Refused` (algorithm_not_allowed).
    """
    policy.algorithms.check_signature(certificate.signature_algorithm, certificate.der, stored=stored)


def check_leaf(leaf: Certificate, policy: ValidationPolicy) -> None:
    """Whether extended key usage and key usage of the leaf allow the purpose.

    Raises `Refused`: extended_key_usage_not_allowed, key_usage_not_allowed.
    """
    extensions = leaf.extensions
    purpose, purposes = policy.extended_key_usage, extensions.extended_key_usage
    if purpose is None:
        return
    if purposes is None:
        if policy.require_extended_key_usage:
            raise _not_a_client(Reason.EXTENDED_KEY_USAGE_NOT_ALLOWED, "the leaf has no extended key usage", leaf)
    elif purpose not in purposes and (policy.require_extended_key_usage or ANY_EXTENDED_KEY_USAGE not in purposes):
        detail = f"the leaf's extended key usage lacks {named(str(purpose))}"
        raise _not_a_client(Reason.EXTENDED_KEY_USAGE_NOT_ALLOWED, detail, leaf)
    # 4.2.1.12: the key usage must be consistent with the purpose.
    if policy.key_usage and extensions.key_usage is not None and extensions.key_usage.isdisjoint(policy.key_usage):
        raise _not_a_client(
            Reason.KEY_USAGE_NOT_ALLOWED, f"the leaf's key is not for {', '.join(policy.key_usage)}", leaf
        )


def _not_a_client(reason: Reason, detail: str, leaf: Certificate) -> Refused:
    if leaf.extensions.ca:
        detail += "; it is a CA's: was the chain sent upside down? The leaf comes first"
    return _refusal(reason, detail, leaf)


def check_first(leaf: Certificate, at: datetime, policy: ValidationPolicy, *, stored: bool = False) -> None:
    """The rules about a leaf that do not depend on an issuer. A client brought it, even if it is `stored` here, too:

    only a path of a signer of CRLs begins with a certificate that counts as stored.
    """
    leaf.subject, leaf.issuer  # noqa: B018 - a name that cannot be read is refused, even if no rule uses it
    check_certificate(leaf, at, policy, stored=stored)
    check_leaf(leaf, policy)
    check_signed(leaf, policy, stored=stored)


def check_issuer(issuer: Certificate, cas_below: int, policy: ValidationPolicy) -> None:
    """What a certificate must allow to issue another, with `cas_below` CAs below it that are not self-issued.

    Raises `Refused`: not_a_ca, path_length_exceeded, key_usage_not_allowed, extended_key_usage_not_allowed.
    """
    extensions = issuer.extensions
    # 6.1.4 (k): a certificate of an older version cannot state that it is a CA.
    if not extensions.ca:
        raise _refusal(Reason.NOT_A_CA, "a certificate that is not a CA issued another", issuer)
    # 4.1.2.6: a CA has a name; without one, the CRLs and certificates of all nameless CAs would be mixed up.
    if not issuer.subject:
        raise _refusal(Reason.NOT_A_CA, "a CA without a name", issuer)
    # 6.1.4 (l) and (m), seen from the issuer: how many may follow, and how many do.
    if extensions.path_length is not None and cas_below > extensions.path_length:
        detail = f"{cas_below} CAs follow where {extensions.path_length} may"
        raise _refusal(Reason.PATH_LENGTH_EXCEEDED, detail, issuer)
    # 6.1.4 (n)
    if extensions.key_usage is not None and "keyCertSign" not in extensions.key_usage:
        raise _refusal(Reason.KEY_USAGE_NOT_ALLOWED, "the CA's key may not sign certificates", issuer)
    # Not in RFC 5280; every implementation in use reads a CA's purposes as a limit on what it issues.
    usages, purpose = extensions.extended_key_usage, policy.extended_key_usage
    if usages is not None and purpose is not None and not usages & {purpose, ANY_EXTENDED_KEY_USAGE}:
        detail = f"the CA's extended key usage lacks {named(str(purpose))}"
        raise _refusal(Reason.EXTENDED_KEY_USAGE_NOT_ALLOWED, detail, issuer)


def check_anchor(anchor: TrustAnchor, cas_below: int, policy: ValidationPolicy, at: datetime) -> None:
    """What the anchor's certificate and the operator's own constraints allow (RFC 5937 section 3).

    An anchor of an old version is a CA because the operator says so. Raises what the other rules raise.
    """
    certificate = anchor.certificate
    check_certificate(certificate, at, policy, stored=True)
    if certificate.v3:
        check_issuer(certificate, cas_below, policy)
    if anchor.path_length is not None and cas_below > anchor.path_length:
        detail = f"{cas_below} CAs follow where the operator allows {anchor.path_length}"
        raise _refusal(Reason.PATH_LENGTH_EXCEEDED, detail, certificate)
    if policy.max_path_length is not None and cas_below > policy.max_path_length:
        detail = f"{cas_below} CAs follow where policy allows {policy.max_path_length}"
        raise _refusal(Reason.PATH_LENGTH_EXCEEDED, detail, certificate)


def check_path(below: Sequence[Certificate], anchor: TrustAnchor, policy: ValidationPolicy, budget: Budget) -> None:
    """The rules about the whole path: names and policies. `below` runs from under the anchor down to the leaf.

    Raises `Refused`: name_constraint_violated, name_constraint_unsupported, policy_not_allowed, budget_exceeded.
    """
    _check_names(below, anchor, budget)
    check_policies(below, policy, budget)


def _check_names(below: Sequence[Certificate], anchor: TrustAnchor, budget: Budget) -> None:
    """Nothing is compared without constraints; those of the leaf itself apply to no certificate."""
    constrained = anchor.permitted or anchor.excluded or anchor.certificate.extensions.constrains_names
    if not constrained and not any([certificate.extensions.constrains_names for certificate in below]):  # noqa: C419 - as fast as it gets
        return
    constraints = NameConstraints()
    if anchor.permitted or anchor.excluded:
        constraints.add(comparable_names(anchor.permitted), comparable_names(anchor.excluded))
    _gather(anchor.certificate, constraints)
    last = below[-1]
    for certificate in below:
        # 6.1.3 (b) and (c): self-issued certificates are exempt, unless they are the last.
        if constraints.any and (certificate is last or not certificate.self_issued):
            constraints.check(certificate, budget)
        if certificate is not last:
            _gather(certificate, constraints)


def _gather(certificate: Certificate, constraints: NameConstraints) -> None:
    """6.1.4 (g)."""
    if certificate.extensions.constrains_names:
        constraints.add(certificate.permitted, certificate.excluded)


def signature_refusal(certificate: Certificate, issuer: Certificate) -> Refused | None:
    """6.1.3 (a) (1): why the signature of a certificate does not verify under its issuer's key; None if it does."""
    try:
        failure = signature_failure(issuer.public_key, certificate.signed)
    except Refused as refusal:
        about = refusal.certificate or certificate.der
        return Refused(refusal.reason, refusal.detail, certificate=about)
    return _refusal(Reason.SIGNATURE_INVALID, failure, certificate) if failure else None


def _refusal(reason: Reason, detail: str, certificate: Certificate) -> Refused:
    return Refused(reason, detail, certificate=certificate.der)
