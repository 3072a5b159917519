"""The public entry: DER in, a proof or a refusal out."""

from __future__ import annotations

import pytest
from support.certificates import NOW, Authority

import authz.pki
from authz.errors import Refused
from authz.pki import AlgorithmRules, ValidationPolicy, verify_chain
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


def test_anchors_empty_trust_no_certificate() -> None:
    """Emptiness fails."""
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[CA.der], anchors=[], at=NOW, check_revocation=False)
    assert caught.value.reason is R.TRUST_ANCHORS_MISSING


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (ValidationPolicy(max_path_length=0), R.PATH_LENGTH_EXCEEDED),
        (ValidationPolicy(extended_key_usage="1.3.6.1.5.5.7.3.1"), R.EXTENDED_KEY_USAGE_NOT_ALLOWED),
        (ValidationPolicy(require_explicit_policy=True), R.POLICY_NOT_ALLOWED),
        (ValidationPolicy(algorithms=AlgorithmRules(keys=frozenset({"rsa"}))), R.ALGORITHM_NOT_ALLOWED),
    ],
)
def test_policy_is_obeyed(policy: ValidationPolicy, expected: Reason) -> None:
    """Every part of it; what each means stands with the module that applies it."""
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[CA.der], anchors=[ROOT.der], at=NOW, policy=policy, check_revocation=False)
    assert caught.value.reason is expected


@pytest.mark.parametrize("der", [b"", b"x", b"0\x00", ALICE.der[:-1], ALICE.der + b"\x00"])
def test_octets_that_are_no_certificate_are_malformed(der: bytes) -> None:
    """Cut short, padded, or nothing at all; as leaf, as anchor, and in the pool where no other reason is better."""
    for leaf, pool, anchors in ((der, [], [ROOT.der]), (ALICE.der, [der], [ROOT.der]), (ALICE.der, [], [der])):
        with pytest.raises(Refused) as caught:
            verify_chain(leaf, pool=pool, anchors=anchors, at=NOW, check_revocation=False)
        assert (caught.value.reason, caught.value.certificate) == (R.CERTIFICATE_MALFORMED, der)


@pytest.mark.parametrize("der", [b"", b"x", ALICE.der[:-1]])
def test_bytes_in_the_pool_that_are_no_certificate_do_no_harm(der: bytes) -> None:
    """A stranger like any other; what is wrong with the way there is reported before it."""
    pool = [der, CA.der, der + b"\x00"]
    assert verify_chain(ALICE.der, pool=pool, anchors=[ROOT.der], at=NOW, check_revocation=False).leaf.der == ALICE.der
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=pool, anchors=[ROOT.der], at=NOW)
    assert caught.value.reason is R.REVOCATION_UNKNOWN


def test_too_many_certificates_are_refused_unread() -> None:
    """Copies do not count; a bag that is too large is not even parsed."""
    pool = [number.to_bytes(2, "big") for number in range(250)]
    given = {"anchors": [ROOT.der], "at": NOW, "check_revocation": False}
    assert verify_chain(ALICE.der, pool=[*pool[1:], CA.der, *pool[1:]], **given).leaf.der == ALICE.der
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[*pool, CA.der], **given)
    assert caught.value.reason is R.TOO_MANY_CERTIFICATES


def test_octets_that_are_no_crl_are_malformed() -> None:
    """A CRL that cannot be read is not passed over: it may be the one that lists the leaf."""
    with pytest.raises(Refused) as caught:
        verify_chain(ALICE.der, pool=[CA.der], anchors=[ROOT.der], crls=[ROOT.crl(), CA.crl()[:-1]], at=NOW)
    assert caught.value.reason is R.CRL_MALFORMED


def test_package_names_what_it_has_and_nothing_else() -> None:
    """Each name is imported when it is asked for."""
    assert all(hasattr(authz.pki, name) for name in authz.pki.__all__)
    assert not hasattr(authz.pki, "Forged")
