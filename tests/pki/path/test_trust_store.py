"""Anchors and intermediates by name; without anchors nothing is trusted."""

from __future__ import annotations

import pytest
from support.certificates import Authority
from support.outcomes import parsed

from authz.errors import Refused
from authz.pki.cache.verified import VerifiedCache
from authz.pki.path.trust_store import MAX_NARROWED, TrustStore
from authz.pki.x509.trust_anchor import TrustAnchor
from authz.reasons import Reason

ROOT = Authority.root()
CA = ROOT.intermediate("CA")
OTHER = ROOT.intermediate("CA")


def test_store_without_anchors_is_refused() -> None:
    """Intermediates alone anchor nothing."""
    with pytest.raises(Refused) as caught:
        TrustStore([], parsed(CA))
    assert caught.value.reason is Reason.TRUST_ANCHORS_MISSING


def test_certificates_are_found_by_subject() -> None:
    """Several of one name; a copy counts once, an anchor is no intermediate."""
    root, ca, other = parsed(ROOT, CA, OTHER)
    store = TrustStore([root], [ca, other, *parsed(CA), root])
    assert [one for one, anchor in store.named(root.subject) if anchor is store.anchors[0]] == [root]
    assert store.named(ca.subject) == [(ca, None), (other, None)]


def test_anchor_keeps_the_operators_constraints() -> None:
    """A certificate alone is an anchor without any."""
    anchor = TrustAnchor(parsed(ROOT)[0], path_length=1)
    assert TrustStore([anchor]).anchors == (anchor,)
    assert TrustStore(parsed(ROOT)).anchors == (TrustAnchor(parsed(ROOT)[0]),)


def test_certificates_of_ours_are_known_and_not_read_again() -> None:
    """Nor are those of the memo."""
    root, ca, other = parsed(ROOT, CA, OTHER)
    verified = VerifiedCache()
    verified.admit([other], [])
    store = TrustStore([root], [ca], verified)
    assert [store.knows(one.der) for one in (root, ca, other)] == [True, True, False]
    assert [store.parse(one.der) is one for one in (root, ca, other)] == [True, True, True]
    assert store.verified is verified


def test_store_of_one_anchor_has_the_same_intermediates_and_no_other_anchor() -> None:
    """It is kept, and remembers into the same cache; of an anchor that is not there, there is no store."""
    roots = [Authority.root(f"Root {number}") for number in range(MAX_NARROWED + 1)]
    store = TrustStore(parsed(*roots), parsed(CA))
    for root in roots:
        only = store.only(root.sha256)
        assert [anchor.certificate.der for anchor in only.anchors] == [root.der]
        assert only.named(parsed(CA)[0].subject) == store.named(parsed(CA)[0].subject)
        assert only.verified is store.verified
        assert only.mark is not store.mark
        assert store.only(root.sha256) is only
    with pytest.raises(Refused) as caught:
        store.only(CA.sha256)
    assert caught.value.reason is Reason.TRUST_ANCHORS_MISSING
