"""The CAs from a leaf's issuer to an anchor, as they are remembered once a path through them verified.

Never a verdict. What is remembered cannot change while anchors and intermediates are the same: that these CAs satisfy
every rule of RFC 5280 section 6.1 but the dates, and that path building tries them first for every leaf that names this
issuer. Each check looks at the dates and at the leaf itself (`authz.pki.path.fast_path`).
"""

from __future__ import annotations

from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from authz.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.pki.validation_policy import ValidationPolicy
    from authz.pki.x509.certificate import Certificate
    from authz.pki.x509.trust_anchor import TrustAnchor

IssuerChainKey = tuple[object, ...]
"""What path building above a leaf depends on: the mark of the trust store, the issuer's name, its key identifier, the
presented certificates in their order (DER). Empty for a leaf that cannot be read: nothing is remembered under it.
"""


class CertificateSource(StrEnum):
    """Where a certificate of a verified path was found."""

    PRESENTED = "presented"
    KNOWN = "known intermediate"
    ANCHOR = "trust anchor"


class IssuerChain:
    """The certificates above a leaf, its issuer first, the anchor's own last.

    `begins` and `ends` bound the validity of them all, `names` are their subjects. `unconstrained` is whether they
    leave names and policies of the leaf alone. `taken`, `octets` and `weight` are what the presented certificates
    count against a budget. `between` is where those below the anchor were found, each source once. `mark` stands for
    the chain where it must not be kept alive.
    """

    __slots__ = (
        "anchor", "begins", "between", "certificates", "ends", "mark", "names", "octets", "policy", "taken",
        "unconstrained", "weight",
    )  # fmt: skip

    def __init__(
        self,
        certificates: tuple[Certificate, ...],
        anchor: TrustAnchor,
        policy: ValidationPolicy,
        taken: int,
        octets: int,
        weight: int = 0,
        between: tuple[CertificateSource, ...] = (),
    ) -> None:
        self.certificates = certificates
        self.anchor = anchor
        self.policy = policy
        self.taken = taken
        self.octets = octets
        self.weight = weight
        self.between = between
        self.mark = object()
        self.names = frozenset(certificate.subject for certificate in certificates)
        self.begins = max(certificate.not_before for certificate in certificates)
        self.ends = min(certificate.not_after for certificate in certificates)
        extensions = [certificate.extensions for certificate in certificates]
        self.unconstrained = not (
            anchor.permitted
            or anchor.excluded
            or policy.require_explicit_policy
            or any(stated.constrains_names or stated.shapes_policies for stated in extensions)
        )


def issuer_chain_key(leaf: Certificate, presented: Sequence[Certificate], mark: object) -> IssuerChainKey:
    """The key of the chain above `leaf` under the trust store of that mark; a copy of the leaf is no part of it."""
    if leaf.known_issuer_chain is None:
        leaf.read_ahead()
    try:
        issuer, key_id = leaf.issuer, leaf.extensions.authority_key_id
    except Refused:
        return ()
    ders = [*map(_der, presented)]
    if leaf.der in ders:
        ders = [der for der in ders if der != leaf.der]
    return (mark, issuer, key_id, *ders)


_der: Final = attrgetter("der")
