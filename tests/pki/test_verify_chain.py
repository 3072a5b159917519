"""The public entry: DER in, a proof or a refusal out."""

from __future__ import annotations

import pytest
from pki_factory import NOW, Authority

from authz.errors import Refused
from authz.pki import ValidationPolicy, verify_chain
from authz.reasons import Reason

ROOT = Authority.root()
CA = ROOT.intermediate("CA")
ALICE = CA.leaf("alice")
R = Reason


def test_chain_verifies_with_its_crls() -> None:
    """Every certificate below the anchor has its proof."""
    path = verify_chain(ALICE.der, pool=[CA.der], anchors=[ROOT.der], crls=[ROOT.crl(), CA.crl()], at=NOW)
    assert [one.certificate.der for one in path.revocation] == [ALICE.der, CA.der]


def test_chain_with_a_revoked_leaf_is_refused() -> None:
    """Whatever else is good."""
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[CA.der], anchors=[ROOT.der], crls=[ROOT.crl(), CA.crl(ALICE)], at=NOW)
    assert caught.value.reason is R.CERTIFICATE_REVOKED


def test_crls_empty_are_unknown_not_good() -> None:
    """Revocation is checked unless it is said not to be."""
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[CA.der], anchors=[ROOT.der], at=NOW)
    assert caught.value.reason is R.REVOCATION_UNKNOWN
    assert verify_chain(ALICE.der, pool=[CA.der], anchors=[ROOT.der], at=NOW, check_revocation=False).revocation == ()


def test_anchors_empty_trust_nobody() -> None:
    """Emptiness fails."""
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[CA.der], anchors=[], at=NOW, check_revocation=False)
    assert caught.value.reason is R.TRUST_ANCHORS_MISSING


def test_policy_is_obeyed() -> None:
    """Here a path length of none."""
    with pytest.raises(Refused) as caught:
        verify_chain(
            ALICE.der,
            pool=[CA.der],
            anchors=[ROOT.der],
            at=NOW,
            policy=ValidationPolicy(max_path_length=0),
            check_revocation=False,
        )
    assert caught.value.reason is R.PATH_LENGTH_EXCEEDED


@pytest.mark.parametrize("der", [b"", b"x", b"0\x00", ALICE.der[:-1], ALICE.der + b"\x00"])
def test_octets_that_are_no_certificate_are_malformed(der: bytes) -> None:
    """Cut short, padded, or nothing at all; as leaf, in the pool, as anchor."""
    for leaf, pool, anchors in ((der, [], [ROOT.der]), (ALICE.der, [der], [ROOT.der]), (ALICE.der, [], [der])):
        with pytest.raises(Refused) as caught:
            verify_chain(leaf, pool=pool, anchors=anchors, at=NOW, check_revocation=False)
        assert caught.value.reason is R.CERTIFICATE_MALFORMED


def test_octets_that_are_no_crl_are_malformed() -> None:
    """A CRL that cannot be read is not passed over: it may be the one that lists the leaf."""
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[CA.der], anchors=[ROOT.der], crls=[ROOT.crl(), CA.crl()[:-1]], at=NOW)
    assert caught.value.reason is R.CRL_MALFORMED
