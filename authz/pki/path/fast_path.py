"""The short way for a leaf below an issuer chain that verified before: only what concerns the leaf, and the dates.

It gives the answer that path building would give, or None: a leaf that a rule refuses, or may refuse, is left
to path building, which reports why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.cache.assurances import find_assurance
from authz.pki.path.validator import check_first, signature_refusal
from authz.pki.revocation.checker import check_status

if TYPE_CHECKING:
    from authz.pki.cache.issuer_chains import IssuerChain
    from authz.pki.cache.verified import SignatureKey, VerifiedCache
    from authz.pki.context import Validation
    from authz.pki.revocation.checker import NotRevoked
    from authz.pki.x509.certificate import Certificate


def proofs_below(
    chain: IssuerChain,
    leaf: Certificate,
    verified: VerifiedCache,
    validation: Validation,
    signatures: dict[SignatureKey, Refused | None],
) -> tuple[NotRevoked, ...] | None:
    """The proofs of revocation for `leaf` and the CAs of `chain` above it, none where revocation is not checked.

    None as soon as a rule refuses the leaf, or may. A signature verified here is noted in `signatures`.
    """
    at, policy, budget, crls, _ = validation
    proofs: tuple[NotRevoked, ...] = ()
    if chain.policy is not policy or not chain.begins <= at <= chain.ends or len(chain.certificates) > budget.depth:
        return None
    try:
        budget.take_certificates(chain.taken, len(leaf.der) + chain.octets, chain.weight)
        if leaf.known_issuer_chain is chain.mark:
            if not leaf.not_before <= at <= leaf.not_after:
                return None
        else:
            _check_leaf(leaf, chain, verified, validation, signatures)
        if crls is not None:
            known = find_assurance(crls, verified.owner, (chain.mark, leaf.crl_points, leaf.extensions.ca))
            if known is None or not known.since <= at <= known.until:
                return None
            proofs = (check_status(leaf, known.applicable, validation), *known.proofs)
    except (Refused, _NeedsPathBuilding):
        return None
    if leaf.known_issuer_chain is not chain.mark:
        key = (leaf.sha256, chain.certificates[0].spki_sha256)
        if key in signatures:
            verified.admit([leaf], [key])
        elif not verified.holds(leaf):
            verified.admit([leaf], [])
        leaf.known_issuer_chain = chain.mark
    return proofs


class _NeedsPathBuilding(Exception):
    """A leaf that the search refuses, or that a rule about the whole path may concern."""


def _check_leaf(
    leaf: Certificate,
    chain: IssuerChain,
    verified: VerifiedCache,
    validation: Validation,
    signatures: dict[SignatureKey, Refused | None],
) -> None:
    """The rules about a leaf below the chain, except revocation.

    Raises `Refused` as these rules do, and `_NeedsPathBuilding`.
    """
    if not chain.unconstrained or leaf.extensions.shapes_policies or leaf.subject in chain.names:
        raise _NeedsPathBuilding
    check_first(leaf, validation.at, chain.policy)
    issuer = chain.certificates[0]
    key = (leaf.sha256, issuer.spki_sha256)
    if not verified.verified(key):
        validation.budget.spend_signature(issuer.key_cost)
        signatures[key] = signature_refusal(leaf, issuer)
        if signatures[key] is not None:
            # An error that is raised and kept is a cycle; the search refuses by what is kept.
            raise _NeedsPathBuilding
