"""What is remembered: never a verdict, never more than the bound, and the most recent."""

from __future__ import annotations

import pytest
from cryptography import x509
from support.certificates import Authority, Minted, name, san
from support.outcomes import parsed
from support.raw_der import handmade, raw_name

from authz.errors import Refused
from authz.pki import DEFAULT_POLICY, TrustAnchor
from authz.pki.cache import SharedCache
from authz.pki.cache.issuer_chains import IssuerChain
from authz.pki.cache.verified import ISSUER_CHAIN_BYTES, MAX_KEY_OCTETS, SignatureKey, VerifiedCache, weight_if_small
from authz.pki.cache.weights import MAX_CERTIFICATE, MAX_DER
from authz.reasons import Reason

ROOT = Authority.root()
LEAVES = parsed(*(ROOT.leaf(f"leaf{number}") for number in range(40)))


def key(number: int) -> SignatureKey:
    """A signature of one's choice."""
    return number.to_bytes(2, "big") * 16, b"key" * 11


def small(max_bytes: int = 60_000) -> VerifiedCache:
    """A cache with little room."""
    return SharedCache(max_bytes).part(1, VerifiedCache)


def test_admitted_certificate_is_the_same_object() -> None:
    """So that it is read once; another is read anew each time."""
    verified = VerifiedCache()
    verified.admit(LEAVES[:1], [])
    assert verified.certificate(bytes(LEAVES[0].der)) is LEAVES[0]
    assert verified.certificate(LEAVES[1].der) is not LEAVES[1]
    assert len(verified) == 1


def test_certificate_that_cannot_be_read_is_refused() -> None:
    """And not remembered."""
    verified = VerifiedCache()
    with pytest.raises(Refused) as caught:
        verified.certificate(b"x")
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED
    assert len(verified) == 0


def test_signature_is_verified_once_it_was_admitted() -> None:
    """Object and key both count."""
    verified = VerifiedCache()
    verified.admit([], [key(1)])
    verified.admit([], [key(1)])
    assert verified.verified(key(1))
    assert not verified.verified(key(2))
    assert not verified.verified((key(1)[0], b"another"))
    assert len(verified) == 1


def test_verifiedry_is_bounded_and_keeps_what_is_used() -> None:
    """Of the rest the oldest go first."""
    verified = small()
    for number, leaf in enumerate(LEAVES):
        verified.admit([leaf], [key(number)])
        assert verified.holds(LEAVES[0])
        assert verified.verified(key(0))
    assert not verified.holds(LEAVES[1])
    assert verified.certificate(LEAVES[0].der) is LEAVES[0]
    assert verified.certificate(LEAVES[1].der) is not LEAVES[1]
    assert verified.holds(LEAVES[-1])


def test_verdict_on_a_crl_is_kept_apart() -> None:
    """Leaves drive out no CRL signature, refutations none either."""
    verified = small()
    verified.admit_crl(key(0), verified=True)
    for number in range(1, 200):
        verified.admit([], [key(number)])
        verified.admit_crl(key(number), verified=False)
    assert verified.crl_verdict(key(0)) is True
    assert verified.crl_verdict(key(199)) is False
    assert verified.crl_verdict(key(1)) is None
    assert not verified.verified(key(0))
    assert not verified.verified(key(1))


def test_name_of_an_issuer_is_read_once() -> None:
    """Certificates of a CA that was on a verified path share its name and its points."""
    verified = VerifiedCache()
    verified.admit(LEAVES[:1], [])
    one, other = verified.certificate(LEAVES[1].der), verified.certificate(LEAVES[2].der)
    assert one.issuer is other.issuer
    assert one.issuer == LEAVES[1].issuer
    assert one.crl_points is other.crl_points
    assert one.crl_points == LEAVES[1].crl_points
    assert one.extensions is other.extensions
    verified.admit([one], [])
    assert verified.certificate(LEAVES[1].der) is one


def test_flood_of_issuers_leaves_those_of_another_tenant() -> None:
    """A tenant's CA may sign as many CAs as it likes, each with its kinds of leaves."""
    whole = SharedCache(150_000)
    quiet, loud = whole.part(1, VerifiedCache), whole.part(2, VerifiedCache)
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
    VerifiedCache().admit([one], [])
    assert (one.signed.tbs, one.serial, one.spki_sha256, one.public_key) == before
    assert parsed(ROOT)[0].x509.subject == ROOT.certificate.subject


def test_large_certificate_is_not_remembered_but_its_signature_is() -> None:
    """In DER, or once it was read; one that cannot be read is not either."""
    noise = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(MAX_DER))
    purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(f"1.2.{number}") for number in range(600)])
    odd = handmade(ROOT.key, subject=raw_name(b"\xe9"), issuer=name("Root").public_bytes())  # type: ignore[arg-type]
    large = parsed(*(ROOT.leaf(extensions=[(one, False)]) for one in (noise, purposes)), odd)
    assert len(large[0].der) > MAX_DER > len(large[1].der)
    verified = VerifiedCache()
    verified.admit(large, [key(1)])
    assert not any(map(verified.holds, large))
    assert verified.verified(key(1))
    assert [weight_if_small(one) for one in large] == [None] * 3
    assert (weight_if_small(LEAVES[0]) or MAX_CERTIFICATE) < 16_000


def chain_of(*certificates: Minted) -> IssuerChain:
    """An issuer chain, not otherwise special."""
    return IssuerChain(tuple(parsed(*certificates)), TrustAnchor(parsed(certificates[-1])[0]), DEFAULT_POLICY, 1, 9)


def test_issuer_chain_is_remembered_unless_it_or_its_key_is_too_large() -> None:
    """Presented certificates are part of the key, CAs of the value."""
    verified, chain, issuer = VerifiedCache(), chain_of(ROOT), parsed(ROOT)[0].subject
    assert verified.admit_issuer_chain((1, issuer, None, bytes(MAX_KEY_OCTETS - issuer.size)), chain)
    assert not verified.admit_issuer_chain((2, issuer, None, bytes(MAX_KEY_OCTETS - issuer.size + 1)), chain)
    names = san(*(f"{number:060}.{'a' * 60}.{'b' * 60}.test" for number in range(90)))
    assert not verified.admit_issuer_chain((3,), chain_of(Authority.root(extensions=[(names, False)])))
    assert [key[0] for key in verified.issuer_chains.entries] == [1]
    assert verified.issuer_chains.weight > MAX_KEY_OCTETS + ISSUER_CHAIN_BYTES + len(ROOT.der)
