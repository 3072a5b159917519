"""What is remembered: never a verdict, never more than the bound, and the most recent."""

from __future__ import annotations

import pytest
from cryptography import x509
from support.certificates import Authority, name
from support.outcomes import parsed
from support.raw_der import handmade, raw_name

from authz.errors import Refused
from authz.pki.cache import MAX_CERTIFICATE, MAX_DER, SharedCache
from authz.pki.cache.verified import Memo, SignatureKey, weight_if_small
from authz.reasons import Reason

ROOT = Authority.root()
LEAVES = parsed(*(ROOT.leaf(f"leaf{number}") for number in range(40)))


def key(number: int) -> SignatureKey:
    """A signature of one's choice."""
    return number.to_bytes(2, "big") * 16, b"key" * 11


def small(max_bytes: int = 60_000) -> Memo:
    """A memo with little room."""
    return SharedCache(max_bytes).part(1, Memo)


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
    memo = small()
    for number, leaf in enumerate(LEAVES):
        memo.admit([leaf], [key(number)])
        assert memo.holds(LEAVES[0])
        assert memo.verified(key(0))
    assert not memo.holds(LEAVES[1])
    assert memo.certificate(LEAVES[0].der) is LEAVES[0]
    assert memo.certificate(LEAVES[1].der) is not LEAVES[1]
    assert memo.holds(LEAVES[-1])


def test_verdict_on_a_crl_is_kept_apart() -> None:
    """Leaves drive out no CRL signature, refutations none either."""
    memo = small()
    memo.admit_crl(key(0), verified=True)
    for number in range(1, 200):
        memo.admit([], [key(number)])
        memo.admit_crl(key(number), verified=False)
    assert memo.crl_verdict(key(0)) is True
    assert memo.crl_verdict(key(199)) is False
    assert memo.crl_verdict(key(1)) is None
    assert not memo.verified(key(0))
    assert not memo.verified(key(1))


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


def test_flood_of_issuers_leaves_those_of_another_tenant() -> None:
    """A tenant's CA may sign as many CAs as it likes, each with its kinds of leaves."""
    whole = SharedCache(150_000)
    quiet, loud = whole.part(1, Memo), whole.part(2, Memo)
    quiet.admit(LEAVES[:1], [])
    for number in range(50):
        loud.admit(parsed(Authority.root(f"CA {number}").leaf()), [])
    assert len(quiet.issuers) == 1
    assert quiet.holds(LEAVES[0])
    assert len(loud.issuers) < 50


def test_remembered_certificate_is_small_and_complete() -> None:
    """What was let go of is made anew when it is asked for."""
    one = parsed(ROOT.leaf("alice"))[0]
    before = (one.signed.tbs, one.serial, one.spki_sha256, one.public_key)
    Memo().admit([one], [])
    assert (one.signed.tbs, one.serial, one.spki_sha256, one.public_key) == before
    assert parsed(ROOT)[0].x509.subject == ROOT.certificate.subject


def test_large_certificate_is_not_remembered_but_its_signature_is() -> None:
    """In DER, or once it was read; one that cannot be read is not either."""
    noise = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(MAX_DER))
    purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(f"1.2.{number}") for number in range(600)])
    odd = handmade(ROOT.key, subject=raw_name(b"\xe9", 0x14), issuer=name("Root").public_bytes())  # type: ignore[arg-type]
    large = parsed(*(ROOT.leaf(extensions=[(one, False)]) for one in (noise, purposes)), odd)
    assert len(large[0].der) > MAX_DER > len(large[1].der)
    memo = Memo()
    memo.admit(large, [key(1)])
    assert not any(map(memo.holds, large))
    assert memo.verified(key(1))
    assert [weight_if_small(one) for one in large] == [None] * 3
    assert (weight_if_small(LEAVES[0]) or MAX_CERTIFICATE) < 16_000
