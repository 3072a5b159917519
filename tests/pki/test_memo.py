"""What is remembered: never a verdict, never more than the bound, and the most recent."""

from __future__ import annotations

import pytest
from pki_factory import Authority
from pki_outcome import parsed

from authz.errors import Refused
from authz.pki.certificate import KnownIssuer
from authz.pki.memo import Memo, SignatureKey
from authz.reasons import Reason

ROOT = Authority.root()
LEAVES = parsed(*(ROOT.leaf(f"leaf{number}") for number in range(12)))


def key(number: int) -> SignatureKey:
    """A signature of one's choice."""
    return bytes([number]) * 32, b"key" * 11


def test_admitted_certificate_is_the_same_object() -> None:
    """So that it is read once; another is read anew each time."""
    memo = Memo()
    memo.admit(LEAVES[:1], [])
    assert memo.certificate(bytes(LEAVES[0].der)) is LEAVES[0]
    assert memo.certificate(LEAVES[1].der) is not LEAVES[1]
    assert len(memo) == 1


def test_certificate_that_cannot_be_read_is_refused() -> None:
    """And not remembered."""
    memo = Memo()
    with pytest.raises(Refused) as caught:
        memo.certificate(b"x")
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED
    assert len(memo) == 0


def test_signature_is_verified_once_it_was_admitted() -> None:
    """Object and key both count."""
    memo = Memo()
    memo.admit([], [key(1)])
    memo.admit([], [key(1)])
    assert memo.verified(key(1))
    assert not memo.verified(key(2))
    assert not memo.verified((key(1)[0], b"another"))
    assert len(memo) == 1


def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    """Of the rest the oldest go first."""
    memo = Memo(max_certificates=4, max_signatures=4)
    for number, leaf in enumerate(LEAVES):
        memo.admit([leaf], [key(number)])
        assert memo.holds(LEAVES[0])
        assert memo.verified(key(0))
        assert len(memo) <= 8
    assert not memo.holds(LEAVES[1])
    assert memo.certificate(LEAVES[0].der) is LEAVES[0]
    assert memo.verified(key(0))
    assert memo.certificate(LEAVES[1].der) is not LEAVES[1]
    assert not memo.verified(key(1))


def test_verdict_on_a_crl_is_kept_apart() -> None:
    """Leaves drive out no CRL signature, refutations none either."""
    memo = Memo(max_signatures=4)
    memo.admit_crl(key(0), verified=True)
    for number in range(1, 20):
        memo.admit([], [key(number)])
        memo.admit_crl(key(number), verified=False)
    assert memo.crl_verdict(key(0)) is True
    assert memo.crl_verdict(key(19)) is False
    assert memo.crl_verdict(key(1)) is None
    assert not memo.verified(key(0))


def test_name_of_an_issuer_is_read_once() -> None:
    """Certificates of a CA that was on a verified path share its name and its points."""
    memo = Memo()
    memo.admit(LEAVES[:1], [])
    one, other = memo.certificate(LEAVES[1].der), memo.certificate(LEAVES[2].der)
    assert one.issuer is other.issuer
    assert one.issuer == LEAVES[1].issuer
    assert one.crl_points is other.crl_points
    assert one.crl_points == LEAVES[1].crl_points
    assert one.extensions is other.extensions
    memo.admit([one], [])
    assert memo.certificate(LEAVES[1].der) is one


def test_names_of_issuers_are_bounded() -> None:
    """Beyond the bound they are read each time."""
    issuers: dict[bytes, KnownIssuer] = {}
    LEAVES[0].introduce_issuer(issuers, 1)
    parsed(Authority.root("Other").leaf())[0].introduce_issuer(issuers, 1)
    assert [one.name for one in issuers.values()] == [LEAVES[0].issuer]


def test_remembered_certificate_is_small_and_complete() -> None:
    """What was let go of is made anew when it is asked for."""
    one = parsed(ROOT.leaf("alice"))[0]
    before = (one.signed.tbs, one.serial, one.spki, one.public_key)
    Memo().admit([one], [])
    assert (one.signed.tbs, one.serial, one.spki, one.public_key) == before
    assert parsed(ROOT)[0].x509.subject == ROOT.certificate.subject
