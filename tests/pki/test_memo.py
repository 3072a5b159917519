"""What is remembered: never a verdict, never more than the bound, and the most recent."""

from __future__ import annotations

import pytest
from pki_factory import Authority
from pki_outcome import parsed

from authz.errors import Refused
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
        memo.admit([leaf, LEAVES[0]], [key(number), key(0)])
        assert len(memo) <= 8
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
